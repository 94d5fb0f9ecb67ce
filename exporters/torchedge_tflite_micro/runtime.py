"""The package tflite-micro: the smallest arena, and running a file with it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, final

import numpy as np

from torchedge.bench.session import Array
from torchedge.children import Program, run_child
from torchedge.errors import ArtifactError, ExportError, MissingDependencyError

__all__ = ["Interpreter", "smallest_arena", "tflite_micro"]

VERSION = "0.dev20261023182759"
_CHILD = "arena_child.py"
_LIMIT_S = 600


def tflite_micro() -> Any:  # noqa: ANN401 - the package has no types
    """Its module ``runtime``.

    Raises:
        MissingDependencyError: The package is not installed.
    """
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise MissingDependencyError(
            "measuring an arena needs the package tflite-micro, which exists for Linux on x86-64; "
            f"type: pip install 'tflite-micro=={VERSION}'"
        ) from error
    return runtime


def smallest_arena(model_file: Path) -> int:
    """The least arena that TensorFlow Lite Micro accepts here, found by bisection.

    16 bytes less do not do. The figure that it reports by itself is too small for some networks:
    while it plans, it needs memory that it gives back.

    Raises:
        MissingDependencyError: The package is not installed.
        ExportError: It cannot run the file in any arena; the text has its own complaint. Or the
            search took too long.
    """
    tflite_micro()
    command = [sys.executable, str(Path(__file__).with_name(_CHILD)), str(model_file)]
    try:
        done = run_child(Program(command=command, limit_s=_LIMIT_S))
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"the search for the smallest arena of '{model_file.name}' "
            f"({model_file.stat().st_size:,} bytes) took more than {_LIMIT_S} s; choose a target "
            "with LiteRT."
        ) from error
    found = json.loads(done.stdout or "{}") if done.returncode == 0 else {}
    if "smallest" not in found:
        raise ExportError(
            f"TensorFlow Lite Micro cannot run '{model_file.name}' in any arena: "
            f"{_complaint(done.stderr)} Replace that operation, or choose a target with LiteRT."
        )
    return int(found["smallest"])


def _complaint(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    about_size = ("arena", "Too many buffers", "allocat")
    telling = [line for line in lines if not any(word in line for word in about_size)]
    return ((telling or lines or ["it said nothing"])[-1][:200]).rstrip(".") + "."


@final
class Interpreter:
    """A file in an arena of a given size: integers in, integers out, in TFLite's layout."""

    def __init__(self, data: bytes, *, arena_bytes: int, outputs: int) -> None:
        """Allocate the tensors.

        Args:
            data: The .tflite file.
            arena_bytes: Size of the arena.
            outputs: How many outputs the file has.

        Raises:
            MissingDependencyError: The package is not installed.
            ArtifactError: The arena is too small for the file, or no file is in the bytes.
        """
        module = tflite_micro()
        try:
            self._interpreter = module.Interpreter.from_bytes(data, arena_size=arena_bytes)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"TensorFlow Lite Micro cannot run the file ({len(data):,} bytes) in an arena of "
                f"{arena_bytes:,} bytes; export it again."
            ) from error
        self._outputs = outputs

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run once."""
        for place, array in enumerate(inputs):
            self._interpreter.set_input(array, place)
        self._interpreter.invoke()
        return tuple(np.array(self._interpreter.get_output(i)) for i in range(self._outputs))
