"""Fixed-point arithmetic with two roundings, as gemmlowp and TensorFlow Lite Micro do it.

A real multiplier is a 31-bit mantissa and a power of two (Jacob et al. 2018, section 2.2). The
product is rounded once to 32 bits and once more by the shift.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array

__all__ = [
    "Multiplier",
    "clamped",
    "fused_limits",
    "high_product",
    "multiplier",
    "multipliers",
    "rescaled",
    "round_half_away",
    "rounded_shift",
]

_MANTISSA_BITS = 31
_LEAST_SHIFT = -31
_NONE, _RELU, _RELU_N1_TO_1, _RELU6 = range(4)


@final
@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """``mantissa · 2^(shift - 31)``; both are arrays where each channel has its own."""

    mantissa: Array | np.int64
    shift: Array | np.int64


def round_half_away(x: float) -> int:
    """The nearest whole number; of two, the one farther from zero.

    Example:
        >>> round_half_away(2.5), round_half_away(-2.5)
        (3, -3)
    """
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def multiplier(real: float) -> Multiplier:
    """A real factor as mantissa and shift; one too small for them becomes 0.

    Example:
        >>> half = multiplier(0.5)
        >>> int(half.mantissa) == 2**30, int(half.shift)
        (True, 0)
    """
    return multipliers([real])


def multipliers(reals: list[float]) -> Multiplier:
    """The same for several factors; a single one stands for all channels."""
    pairs = [_mantissa_and_shift(real) for real in reals]
    mantissa, shift = np.array(pairs, np.int64).T
    if len(pairs) == 1:
        return Multiplier(mantissa=mantissa[0], shift=shift[0])
    return Multiplier(mantissa=mantissa, shift=shift)


def _mantissa_and_shift(real: float) -> tuple[int, int]:
    fraction, shift = math.frexp(real)
    mantissa = round_half_away(fraction * 2**_MANTISSA_BITS)
    if mantissa == 2**_MANTISSA_BITS:
        mantissa, shift = mantissa // 2, shift + 1
    return (0, 0) if shift < _LEAST_SHIFT else (mantissa, shift)


def high_product(a: Array, b: Array | np.int64, *, bits: int = 32) -> Array:
    """``a·b / 2^(bits-1)``, rounded, ties up; saturating.

    gemmlowp's ``SaturatingRoundingDoublingHighMul``.

    Example:
        >>> high_product(np.array([3, -3]), np.array([2**30, 2**30])).tolist()
        [2, -1]
    """
    half = 1 << (bits - 2)
    product = a.astype(np.int64) * b
    nudged = product + np.where(product >= 0, half, 1 - half)
    result = np.sign(nudged) * (np.abs(nudged) >> (bits - 1))
    return np.asarray(np.minimum(result, 2 ** (bits - 1) - 1))


def rounded_shift(x: Array, shift: Array | np.int64 | int) -> Array:
    """``x / 2^shift``, rounded, ties away from zero.

    gemmlowp's ``RoundingDivideByPOT``.

    Example:
        >>> rounded_shift(np.array([3, -3, 5]), 1).tolist()
        [2, -2, 3]
    """
    mask = (np.int64(1) << np.asarray(shift, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> np.asarray(shift, np.int64)) + ((x & mask) > threshold))


def rescaled(x: Array, by: Multiplier) -> Array:
    """A whole number times a real factor, rounded twice.

    TFLite's ``MultiplyByQuantizedMultiplier`` without ``TFLITE_SINGLE_ROUNDING``.

    Example:
        >>> rescaled(np.array([100, -7]), multiplier(0.5)).tolist()
        [50, -3]
    """
    left, right = np.maximum(by.shift, 0), np.maximum(-by.shift, 0)
    return rounded_shift(high_product(x.astype(np.int64) << left, by.mantissa), right)


def fused_limits(kind: int, scale: float, zero_point: int) -> tuple[int, int]:
    """Smallest and largest int8 that an activation inside an operator lets through.

    Example:
        >>> fused_limits(3, 6 / 255, -128)
        (-128, 127)
    """
    ends = {_RELU: (0.0, None), _RELU_N1_TO_1: (-1.0, 1.0), _RELU6: (0.0, 6.0)}
    low, high = ends.get(kind, (None, None))
    return (
        -128 if low is None else max(-128, _on_grid(low, scale, zero_point)),
        127 if high is None else min(127, _on_grid(high, scale, zero_point)),
    )


def _on_grid(real: float, scale: float, zero_point: int) -> int:
    return zero_point + round_half_away(float(np.float32(real) / np.float32(scale)))


def clamped(x: Array, limits: tuple[int, int] = (-128, 127)) -> Array:
    """As int8, values beyond the limits cut off."""
    return np.asarray(np.clip(x, *limits).astype(np.int8))
