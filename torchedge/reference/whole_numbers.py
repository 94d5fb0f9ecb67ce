"""Sums and averages as TFLite's kernels compute them: on the stored integers, without floats."""

import math

import torch
from torch import Tensor

__all__ = ["fixed_point_product", "whole_average", "whole_sum"]

_MULTIPLIER_BITS = 20
_MANTISSA_BITS = 31


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


def fixed_point_product(sums: Tensor, ratio: float) -> Tensor:
    """``sum · ratio``, rounded to whole numbers by a product of 32 bits, and again by a shift.

    The ratio is a mantissa of 31 bits and a power of two (Jacob et al. 2018, section 2.2). TFLite's
    products of two matrices round so; what lies just below a half is taken up.

    Args:
        sums: Whole numbers of at most 31 bits.
        ratio: Positive.

    Example:
        >>> fixed_point_product(torch.tensor([5.0, -5.0]), 0.5).tolist()
        [3.0, -2.0]
        >>> fixed_point_product(torch.tensor([5.0, -5.0]), 0.4975).tolist()  # 2.4875, of 4.975
        [3.0, -3.0]
    """
    fraction, exponent = math.frexp(ratio)
    mantissa = math.floor(fraction * 2**_MANTISSA_BITS + 0.5)
    if mantissa == 2**_MANTISSA_BITS:
        mantissa, exponent = mantissa // 2, exponent + 1
    wide = (sums.long() << max(exponent, 0)) * mantissa
    half = 2 ** (_MANTISSA_BITS - 1)
    nudged = wide + torch.where(wide >= 0, half, 1 - half)
    high = torch.div(nudged, 2**_MANTISSA_BITS, rounding_mode="trunc")
    return _rounded_shift(high, max(-exponent, 0)).to(sums.dtype)


def _rounded_shift(values: Tensor, bits: int) -> Tensor:
    """Divided by a power of two; of two that are as near, the one farther from zero."""
    mask = (1 << bits) - 1
    above = (values & mask) > (mask >> 1) + (values < 0).long()
    return (values >> bits) + above.long()
