"""Sums, products and hard gates of integers as ONNX Runtime's kernels round them: in float32, once.

The kernels cut the result to the stored integers; the quantiser behind does that here.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

__all__ = [
    *("Grid", "Operand", "hard_gate_steps", "in_steps", "is_hard_gate_grid", "product_steps"),
    "sum_steps",
]

_THREE, _SIX = 3.0, 6.0
_LARGEST = 255


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """Scale and zero point of a tensor, as the program's constants."""

    scale: Tensor
    zero_point: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Operand:
    """A tensor in steps from the zero point of its grid."""

    steps: Tensor
    grid: Grid


def sum_steps(a: Operand, b: Operand, result: Grid) -> Tensor:
    """``a·(s_a/s_y) + (b·(s_b/s_y) + c)`` steps, each sum rounded once to float32.

    Example:
        >>> zero = torch.tensor(0)
        >>> one, half = (Grid(scale=torch.tensor(s), zero_point=zero) for s in (1.0, 0.5))
        >>> a = Operand(steps=torch.tensor([1.0, 3.0]), grid=half)
        >>> sum_steps(a, Operand(steps=torch.tensor([1.0, 1.0]), grid=one), one).tolist()
        [2.0, 2.0]
    """
    ratios = a.grid.scale / result.scale, b.grid.scale / result.scale
    zero = result.zero_point.float()
    of_b = (ratios[1] * b.grid.zero_point.float()).double()
    offset = (ratios[0].double() * a.grid.zero_point.double() + of_b).float()
    total = zero - offset
    for operand, ratio in ((b, ratios[1]), (a, ratios[0])):
        stored = operand.steps.double() + operand.grid.zero_point.double()
        total = (total.double() + stored * ratio.double()).float()
    return torch.round(total) - zero


def product_steps(a: Operand, b: Operand, result: Grid) -> Tensor:
    """``float(a·b) · (s_a·s_b / s_y)`` steps, rounded with the zero point added.

    Example:
        >>> half = Grid(scale=torch.tensor(0.5), zero_point=torch.tensor(7))
        >>> three = Operand(steps=torch.tensor(3.0), grid=half)
        >>> product_steps(three, three, half)  # 4.5 steps are stored as 11.5, which rounds to even
        tensor(5.)
    """
    zero = result.zero_point.float()
    ratio = a.grid.scale * b.grid.scale / result.scale
    return torch.round(a.steps * b.steps * ratio + zero) - zero


def hard_gate_steps(x: Operand, result: Grid) -> Tensor:
    """``(x + 3) / 6`` as the sum of ``x`` and 3 on a grid six times as coarse.

    The ends of the grid cut the sum at 0 and at 6, where :func:`is_hard_gate_grid`.
    """
    coarse = Grid(scale=_SIX * result.scale, zero_point=result.zero_point)
    unit = Grid(scale=torch.tensor(_THREE), zero_point=torch.tensor(0))
    return sum_steps(x, Operand(steps=torch.tensor(1.0), grid=unit), coarse)


def is_hard_gate_grid(scale: float, zero_point: int) -> bool:
    """Whether a grid of unsigned 8-bit integers begins at 0 and ends at 1 or before.

    Example:
        >>> is_hard_gate_grid(1 / 255, 0), is_hard_gate_grid(1.1 / 255, 0)
        (True, False)
    """
    return zero_point == 0 and 1 / scale >= _LARGEST - 0.5


def in_steps(sums: Tensor, multiplier: Tensor) -> Tensor:
    """Sums times the multiplier, rounded to whole steps."""
    return torch.round(sums * multiplier)
