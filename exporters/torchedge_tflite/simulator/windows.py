"""What a kernel that slides over a picture sees at each of its positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.call import Call

__all__ = ["Sliding", "views"]

_SAME = 0


@final
@dataclass(frozen=True, kw_only=True)
class Sliding:
    """How a kernel slides; every pair is height, then width.

    Args:
        kernel: Its size.
        stride: Its steps.
        dilation: Distance between its taps.
        before: Border before the picture.
        result: Size of the result.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    result: tuple[int, int]

    @staticmethod
    def of(call: Call, kernel: tuple[int, int]) -> "Sliding":
        """From an operator's options, with TensorFlow's borders: what is odd goes to the end."""
        stride = call.number("strideH"), call.number("strideW")
        dilation = call.number("dilationHFactor") or 1, call.number("dilationWFactor") or 1
        result = call.output.shape[1], call.output.shape[2]
        sizes = call.tensor(0).shape[1:3]
        before = (0, 0)
        if call.number("padding") == _SAME:
            top, left = (
                max((r - 1) * s + (k - 1) * d + 1 - size, 0) // 2
                for r, s, k, d, size in zip(result, stride, kernel, dilation, sizes, strict=True)
            )
            before = top, left
        return Sliding(
            kernel=kernel, stride=stride, dilation=dilation, before=before, result=result
        )


def views(x: Array, sliding: Sliding, fill: int) -> Iterator[tuple[int, int, Array]]:
    """For each tap of the kernel, the values that it meets, of the size of the result.

    Args:
        x: Batch, height, width, channels.
        sliding: How.
        fill: What lies beyond the borders.
    """
    padded = _padded(x, sliding, fill)
    ends = [s * (r - 1) + 1 for s, r in zip(sliding.stride, sliding.result, strict=True)]
    for row in range(sliding.kernel[0]):
        for column in range(sliding.kernel[1]):
            top, left = row * sliding.dilation[0], column * sliding.dilation[1]
            yield (
                row,
                column,
                padded[
                    :,
                    top : top + ends[0] : sliding.stride[0],
                    left : left + ends[1] : sliding.stride[1],
                ],
            )


def _padded(x: Array, sliding: Sliding, fill: int) -> Array:
    widths = [(0, 0)]
    for axis in (0, 1):
        reach = (sliding.result[axis] - 1) * sliding.stride[axis]
        reach += (sliding.kernel[axis] - 1) * sliding.dilation[axis] + 1
        after = max(reach - sliding.before[axis] - x.shape[axis + 1], 0)
        widths.append((sliding.before[axis], after))
    return np.pad(x, [*widths, (0, 0)], constant_values=fill)
