"""Finds the smallest arena in a process of its own; needs nothing of torchedge.

``python arena_child.py MODEL.tflite`` prints one line of JSON. TensorFlow Lite Micro complains on
the error stream about every arena that is too small.
"""

import json
import os
import sys
from pathlib import Path

__all__ = ["main"]

_STEP = 16
_LARGEST = 1 << 28


def main(model_file: Path) -> dict[str, int]:
    """The least arena, in multiples of 16 bytes, with which the tensors can be allocated."""
    from tflite_micro import runtime  # noqa: F401 - once, not in every copy of this process

    data = model_file.read_bytes()
    high = _STEP
    while not _accepts(data, high):
        high *= 2
        if high > _LARGEST:
            return {}
    low = high // 2
    while high - low > _STEP:
        middle = (low + high) // 2 // _STEP * _STEP
        low, high = (low, middle) if _accepts(data, middle) else (middle, high)
    return {"smallest": high}


def _accepts(data: bytes, arena: int) -> bool:
    """Try it in a copy of this process: the library crashes where its first notes do not fit."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _allocates(data, arena) else 1)
    return os.waitpid(child, 0)[1] == 0


def _allocates(data: bytes, arena: int) -> bool:
    from tflite_micro import runtime

    try:
        runtime.Interpreter.from_bytes(data, arena_size=arena)
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are no business of the child's
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
