"""What an integer grid covers, and what falls outside of it."""

import torch
from torch import Tensor

from torchedge.quantization.scales import along_axis
from torchedge.scheme import QuantSpec

__all__ = ["clipped", "grid_range"]


def grid_range(scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> tuple[Tensor, Tensor]:
    """The real values of the smallest and the largest integer, for each scale.

    ``scale · (quant_min - zero_point)`` and ``scale · (quant_max - zero_point)``.

    Example:
        >>> low, high = grid_range(torch.tensor(0.1), torch.tensor(0), QuantSpec(bits=4))
        >>> round(float(low), 4), round(float(high), 4)
        (-0.8, 0.7)
    """
    return scale * (spec.quant_min - zero_point), scale * (spec.quant_max - zero_point)


def clipped(x: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> int:
    """How many values are moved to an end of the grid from more than half a step beyond it.

    Example:
        >>> x = torch.tensor([0.0, 0.74, 0.76, -2.0])
        >>> clipped(x, torch.tensor(0.1), torch.tensor(0), QuantSpec(bits=4))
        2
    """
    integers = torch.round(x / along_axis(scale, x, spec)) + along_axis(zero_point, x, spec)
    return int(((integers < spec.quant_min) | (integers > spec.quant_max)).sum())
