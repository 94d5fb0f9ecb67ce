"""Sums and averages as TFLite's kernels compute them: on the stored integers, without floats."""

import torch
from torch import Tensor

__all__ = ["whole_average", "whole_sum"]

_MULTIPLIER_BITS = 20


def whole_average(sums: Tensor, count: Tensor | int, zero_point: Tensor) -> Tensor:
    """``(Σ q ± n/2) / n`` cut to an integer, of integers ``q`` that include the zero point.

    Args:
        sums: Sums of ``count`` integers each, without the zero point.
        count: The integers in each sum.
        zero_point: Of the grid that both sides have.

    Returns:
        Steps from the zero point.

    Example:
        >>> whole_average(torch.tensor([5.0, -5.0]), 2, torch.tensor(0)).tolist()
        [3.0, -3.0]
    """
    zero = zero_point.double()
    stored = sums.double() + count * zero
    return torch.trunc((stored + stored.sign() * (count // 2)) / count) - zero


def whole_sum(steps: tuple[Tensor, Tensor], ratios: tuple[Tensor, Tensor]) -> Tensor:
    """``(a·m_a + b·m_b) / 2^shift``, rounded half up, with multipliers of 21 bits (XNNPACK).

    Args:
        steps: Both operands in steps from their zero points.
        ratios: Scale of each operand by the scale of the result, in float32.

    Returns:
        Steps from the zero point of the result.

    Example:
        >>> half, one = torch.tensor(0.5), torch.tensor(1.0)
        >>> whole_sum((torch.tensor([1.0, -1.0]), torch.tensor([2.0, 2.0])), (half, one)).tolist()
        [3.0, 2.0]
    """
    _, exponent = torch.frexp(torch.maximum(*ratios))  # the larger one is below 2^exponent
    unit = torch.pow(2.0, (_MULTIPLIER_BITS + 1 - exponent).double())
    products = [
        a.double() * torch.round(r.double() * unit) for a, r in zip(steps, ratios, strict=True)
    ]
    return torch.floor((products[0] + products[1]) / unit + 0.5)
