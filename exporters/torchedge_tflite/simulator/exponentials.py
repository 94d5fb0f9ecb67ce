"""Exponential, logistic and hyperbolic tangent in 32-bit fixed point, as gemmlowp computes them.

A number ``Qm`` has ``m`` integer bits: the raw integer ``2^(31-m)`` is 1.
"""

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.fixed_point import high_product, rounded_shift

__all__ = [
    "exponential",
    "hyperbolic_tangent",
    "logistic_curve",
    "one_over_one_plus",
]

_ONE = 2**31 - 1
_EXP_OF_MINUS_EIGHTH, _THIRD = 1895147668, 715827883  # in Q0
_48_BY_17, _MINUS_32_BY_17 = 1515870810, -1010580540  # in Q2
_UNIT_Q2 = 1 << 29
# exp(-2^(i-2)) in Q0, for the bits of a remainder from one quarter upwards.
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def exponential(x: Array, integer_bits: int) -> Array:
    """``exp(x)`` in Q0 of numbers up to 0: a polynomial below one quarter, a product above.

    Args:
        x: Raw integers.
        integer_bits: Of them, at most 5.

    Example:
        >>> int(exponential(np.array([0]), 5)[0]) == 2**31 - 1
        True
    """
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    within = (x & (quarter - 1)) - quarter
    result = _exponential_below_quarter(within << integer_bits)
    remainder = within - x
    for exponent, power in enumerate(_POWERS, -2):
        if integer_bits > exponent:
            bit = remainder >> (fraction_bits + exponent) & 1
            result = np.where(bit == 1, high_product(result, np.int64(power)), result)
    return np.where(x == 0, _ONE, result)


def _exponential_below_quarter(x: Array) -> Array:
    """``exp`` between -1/4 and 0 by its Taylor series at -1/8, all in Q0."""
    x = x + (1 << 28)
    square = high_product(x, x)
    cube, fourth = high_product(square, x), high_product(square, square)
    sixth = high_product(rounded_shift(fourth, 2) + cube, np.int64(_THIRD))
    tail = rounded_shift(sixth + square, 1)
    base = np.int64(_EXP_OF_MINUS_EIGHTH)
    return np.minimum(base + high_product(x + tail, base), _ONE)


def one_over_one_plus(x: Array) -> Array:
    """``1 / (1 + x)`` in Q0 of numbers between 0 and 1 in Q0."""
    return _saturated(_reciprocal_of_half_sum(x) << 1)


def _reciprocal_of_half_sum(x: Array) -> Array:
    """``2 / (1 + x)`` in Q2 by three steps of Newton and Raphson."""
    half = (x + _ONE + 1) >> 1
    y = _48_BY_17 + high_product(half, np.int64(_MINUS_32_BY_17))
    for _ in range(3):
        error = _UNIT_Q2 - high_product(half, y)
        y = y + _saturated(high_product(y, error) << 2)
    return y


def logistic_curve(x: Array, integer_bits: int) -> Array:
    """``1 / (1 + exp(-x))`` in Q0."""
    above = one_over_one_plus(exponential(-np.abs(x), integer_bits))
    result = np.where(x > 0, above, _ONE - above)
    return np.where(x == 0, 1 << 30, result)


def hyperbolic_tangent(x: Array, integer_bits: int) -> Array:
    """``tanh(x)`` in Q0: ``(1 - e) / (1 + e)`` with ``e = exp(-2·|x|)``."""
    e = exponential(-np.abs(x), integer_bits + 1)
    size = _saturated((_reciprocal_of_half_sum(e) - _UNIT_Q2) << 2)
    return np.asarray(np.sign(x) * size)


def _saturated(x: Array) -> Array:
    return np.clip(x, -(2**31), _ONE)
