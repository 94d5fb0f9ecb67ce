"""Averages and largest values of windows and of whole axes."""

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.call import Call
from torchedge_tflite.simulator.fixed_point import (
    Multiplier,
    clamped,
    fused_limits,
    multiplier,
    rescaled,
)
from torchedge_tflite.simulator.windows import Sliding, views

__all__ = ["average_pool", "max_pool", "mean"]

_LOWEST = -128
_MANTISSA_BITS = 31


def average_pool(call: Call) -> Array:
    """``AVERAGE_POOL_2D``: sums of stored integers by the count inside the picture, half away."""
    sliding = Sliding.of(call, (call.number("filterHeight"), call.number("filterWidth")))
    x = call.array(0).astype(np.int64)
    sums = np.asarray(sum(view for _, _, view in views(x, sliding, 0)))
    counts = np.asarray(sum(view for _, _, view in views(np.ones_like(x), sliding, 0)))
    return clamped(_divided_half_away(sums, counts), _limits(call))


def max_pool(call: Call) -> Array:
    """``MAX_POOL_2D``; what lies beyond the borders never wins."""
    sliding = Sliding.of(call, (call.number("filterHeight"), call.number("filterWidth")))
    seen = [view for _, _, view in views(call.array(0).astype(np.int64), sliding, _LOWEST)]
    return clamped(np.max(seen, axis=0), _limits(call))


def _limits(call: Call) -> tuple[int, int]:
    return fused_limits(call.number("fusedActivationFunction"), call.out_scale, call.out_zero_point)


def _divided_half_away(sums: Array, counts: Array) -> Array:
    return np.asarray(np.sign(sums) * ((np.abs(sums) + counts // 2) // counts))


def mean(call: Call) -> Array:
    """``MEAN`` over the axes that its second input names: one multiplier rescales and divides."""
    axes = tuple(int(axis) for axis in call.array(1).ravel())
    steps = call.steps(0)
    count = int(np.prod([steps.shape[axis] for axis in axes]))
    by = _divided(multiplier(call.scale(0) / call.out_scale), count)
    result = clamped(rescaled(steps.sum(axes), by) + call.out_zero_point)
    return result.reshape(call.output.shape)


def _divided(by: Multiplier, count: int) -> Multiplier:
    """A factor over a count; the mantissa is widened before the division and cut by it."""
    room = min(count.bit_length() - 1, 32, _MANTISSA_BITS + int(by.shift))
    mantissa = (int(by.mantissa) << room) // count
    return Multiplier(mantissa=np.int64(mantissa), shift=by.shift - room)
