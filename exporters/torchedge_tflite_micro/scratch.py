"""Working memory that a device's kernels ask for, and the reference kernels here do not.

Closed forms of CMSIS-NN for cores with DSP instructions, compared once with CMSIS-NN's own
functions as the package executorch 1.5.1 carries them. For the
vector kernels of ESP-NN an upper bound; its plain ones are taken to need what CMSIS-NN does.
"""

import math
from typing import Literal, TypeAlias

from torchedge_tflite.flatbuffer import FlatModel, Operator

__all__ = ["Kernels", "arena_bytes", "scratch_bytes"]

Kernels: TypeAlias = Literal["cmsis-nn", "esp-nn", "esp-nn-s3", "reference"]

_KIB = 1024
_REQUEST_BYTES = 16  # the arena's own note of a scratch buffer
_SAME = 0


def scratch_bytes(operator: Operator, flat: FlatModel, kernels: Kernels) -> int:
    """What one operator asks for beside its tensors."""
    if kernels == "reference" or operator.name not in _RULES:
        return 0
    return _RULES[operator.name](operator, flat, kernels)


def arena_bytes(smallest: int, flat: FlatModel, kernels: Kernels) -> int:
    """The arena to reserve: what is needed here, the largest scratch, and a note for each.

    Args:
        smallest: The least that tflite-micro accepts on this computer. Its pointers are twice as
            long as a microcontroller's, which leaves some room.
        flat: The file.
        kernels: The library that the device's build uses.

    Returns:
        Whole KiB.
    """
    wanted = [scratch_bytes(operator, flat, kernels) for operator in flat.operators]
    notes = _REQUEST_BYTES * sum(size > 0 for size in wanted)
    return _KIB * math.ceil((smallest + max(wanted, default=0) + notes) / _KIB)


def _convolution(operator: Operator, flat: FlatModel, kernels: Kernels) -> int:
    _, height, width, channels = flat.tensors[operator.inputs[0]].shape
    outputs, rows, columns, depth = flat.tensors[operator.inputs[1]].shape
    taps = rows * columns * depth
    if kernels == "esp-nn-s3":
        row = 16 * (-(-channels // 8) * 8)
        return 2 * (taps * outputs + height * width * channels) + row + 64
    if (rows, columns) == (1, 1) and not _pads(operator, flat):
        return 0
    return 2 * 2 * (-(-taps // 4) * 4)  # two columns of int16, each a multiple of four


def _depthwise(operator: Operator, flat: FlatModel, kernels: Kernels) -> int:
    _, height, width, channels = flat.tensors[operator.inputs[0]].shape
    _, rows, columns, outputs = flat.tensors[operator.inputs[1]].shape
    if kernels == "esp-nn-s3":
        padded = (height + rows) * (width + columns) * channels
        return 2 * (rows * columns * outputs + padded) + 64
    small = (rows, columns) == (3, 3) and outputs == channels
    return 0 if small else 2 * rows * columns * channels


def _average(operator: Operator, flat: FlatModel, kernels: Kernels) -> int:
    return 0 if kernels == "esp-nn-s3" else 4 * flat.tensors[operator.inputs[0]].shape[3]


def _pads(operator: Operator, flat: FlatModel) -> bool:
    """A kernel of one pixel has a border only where a stride leaves one."""
    if operator.options.get("padding", _SAME) != _SAME:
        return False
    sizes, results = (flat.tensors[i].shape[1:3] for i in (operator.inputs[0], operator.outputs[0]))
    strides = operator.options.get("strideH", 1), operator.options.get("strideW", 1)
    return any((r - 1) * s + 1 > n for n, r, s in zip(sizes, results, strides, strict=True))


_RULES = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _average,
}
