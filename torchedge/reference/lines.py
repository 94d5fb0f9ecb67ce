"""A factor and an offset for each channel, on integers that are rounded once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from torchedge.quantization.lines import Floats, integer_lines, line_of
from torchedge.reference.elementwise import in_steps

__all__ = ["hard_sigmoid_steps", "norm_steps"]


def norm_steps(
    steps: Tensor, norm: Sequence[Tensor | None], epsilon: float, scales: tuple[Tensor, Tensor]
) -> Tensor:
    """A batch norm in evaluation mode on integers, rounded once.

    Args:
        steps: Whole steps of the input, zero being 0, with channels along the second axis.
        norm: Weight, bias, running mean and running variance.
        epsilon: Added to the variance.
        scales: Of the input and of the result, float32 numbers.
    """
    return _line_steps(steps, line_of(norm, epsilon), scales)


def hard_sigmoid_steps(steps: Tensor, scales: tuple[Tensor, Tensor]) -> Tensor:
    """``x / 6 + 1/2`` on integers, rounded once; the ends are the caller's to cut.

    Args:
        steps: Whole steps of the input, zero being 0.
        scales: Of the input and of the result, float32 numbers.
    """
    line = np.array([np.float32(1 / 6)], np.float64), np.array([0.5])
    return _line_steps(steps, line, scales)


def _line_steps(
    steps: Tensor, line: tuple[Floats, Floats], scales: tuple[Tensor, Tensor]
) -> Tensor:
    numbers = integer_lines(*line, float(scales[0]))
    along = [-1 if axis == 1 else 1 for axis in range(steps.ndim)]
    weights, own, biases = (
        torch.from_numpy(part).view(along if len(part) > 1 else []) for part in numbers
    )
    sums = steps.double() * weights + biases
    return in_steps(sums.float(), scales[0] * own / scales[1])
