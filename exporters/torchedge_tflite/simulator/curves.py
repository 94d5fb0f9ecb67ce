"""Functions of one tensor: looked up among 256 values, but for softmax, which sees whole rows."""

from collections.abc import Callable

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.call import Call
from torchedge_tflite.simulator.exponentials import (
    exponential,
    hyperbolic_tangent,
    logistic_curve,
    one_over_one_plus,
)
from torchedge_tflite.simulator.fixed_point import (
    Multiplier,
    clamped,
    high_product,
    multiplier,
    rescaled,
    rounded_shift,
)

__all__ = ["hard_swish", "leaky_relu", "logistic", "softmax", "tanh"]

_SOFTMAX_BITS, _CURVE_BITS, _SUM_BITS = 5, 4, 12
_HALF_WORD = 16


def _looked_up(call: Call, curve: Callable[[Array], Array]) -> Array:
    """The curve at all 256 steps that an int8 tensor can have, then at those that it has."""
    table = clamped(curve(np.arange(-128, 128, dtype=np.int64) - call.zero_point(0)))
    return table[call.array(0).astype(np.int64) + 128]


def logistic(call: Call) -> Array:
    """``LOGISTIC``; its result has scale 1/256 and zero point -128."""
    return _looked_up(call, lambda steps: _saturating(call, steps, logistic_curve, 8) - 128)


def tanh(call: Call) -> Array:
    """``TANH``; its result has scale 1/128 and zero point 0."""
    return _looked_up(call, lambda steps: _saturating(call, steps, hyperbolic_tangent, 7))


def _saturating(
    call: Call, steps: Array, curve: Callable[[Array, int], Array], result_bits: int
) -> Array:
    """A curve of numbers in Q4; those beyond ±15 have its end values."""
    by = multiplier(call.scale(0) * 2 ** (31 - _CURVE_BITS))
    radius = _radius(_CURVE_BITS, int(by.shift))
    inside = np.clip(steps, -radius, radius)
    shape = rounded_shift(curve(rescaled(inside, by), _CURVE_BITS), 31 - result_bits)
    return np.where(steps <= -radius, -512, np.where(steps >= radius, 512, shape))


def _radius(integer_bits: int, shift: int) -> int:
    return int((2**integer_bits - 1) * 2.0 ** (31 - integer_bits - shift))


def leaky_relu(call: Call) -> Array:
    """``LEAKY_RELU``: one multiplier above zero and one below."""
    result = np.float32(call.out_scale)
    scale, slope = np.float32(call.scale(0)), np.float32(call.options["alpha"])
    above, below = multiplier(float(scale / result)), multiplier(float(scale * slope / result))

    def curve(steps: Array) -> Array:
        return np.where(steps >= 0, rescaled(steps, above), rescaled(steps, below)) + (
            call.out_zero_point
        )

    return _looked_up(call, curve)


def hard_swish(call: Call) -> Array:
    """``HARD_SWISH``: ``x·relu6(x+3)/6`` in 16-bit fixed point, each product rounded."""
    fine = float(np.float32(1 / 128) * np.float32(call.scale(0)))
    to_result = multiplier(float(np.float32(fine) / np.float32(call.out_scale)))
    to_gate = multiplier(float(np.float32(fine) / (np.float32(3) / np.float32(32768))))

    def curve(steps: Array) -> Array:
        wide = steps << 7
        value = high_product(wide, _half_word(to_result), bits=_HALF_WORD)
        opened = (_gate(wide, to_gate) + (1 << 15)) >> 1
        product = opened * value
        product = np.sign(product) * (np.abs(product) >> 15)
        return rounded_shift(product, -to_result.shift) + call.out_zero_point

    return _looked_up(call, curve)


def _gate(x: Array, by: Multiplier) -> Array:
    """``x/3`` between -1 and 1 in Q0 of 16 bits, shifted before and after so that nothing wraps."""
    shift = int(by.shift)
    x = _short(x << (shift - 1)) if shift > 0 else x
    x = high_product(x, _half_word(by), bits=_HALF_WORD)
    if shift > 0:
        return _short(x << 1)
    return rounded_shift(x, -shift) if shift < 0 else x


def _half_word(by: Multiplier) -> Array:
    return np.asarray(np.minimum((by.mantissa + (1 << 15)) >> 16, 2**15 - 1))


def _short(x: Array) -> Array:
    return np.clip(x, -(2**15), 2**15 - 1)


def softmax(call: Call) -> Array:
    """``SOFTMAX`` over the last axis; its result has scale 1/256 and zero point -128."""
    beta = float(call.options.get("beta", 1.0))
    by = multiplier(min(beta * call.scale(0) * 2 ** (31 - _SOFTMAX_BITS), 2.0**31 - 1))
    least = -_radius(_SOFTMAX_BITS, int(by.shift))
    rows = call.array(0).astype(np.int64).reshape(-1, call.output.shape[-1])
    below = rows - rows.max(1, keepdims=True)
    seen = below >= least
    powers = exponential(high_product(np.maximum(below, least) << by.shift, by.mantissa), 5)
    sums = np.where(seen, rounded_shift(powers, _SUM_BITS), 0).sum(1, keepdims=True)
    headroom = 32 - np.floor(np.log2(sums)).astype(np.int64) - 1
    inverse = one_over_one_plus((sums << headroom) - (1 << 31))
    shares = rounded_shift(high_product(inverse, powers), _SUM_BITS - headroom + 31 - 8)
    return clamped(np.where(seen, shares - 128, -128)).reshape(call.output.shape)
