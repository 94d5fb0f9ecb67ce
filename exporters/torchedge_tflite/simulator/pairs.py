"""Sums, differences and products of two tensors, and changes from one grid to another."""

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.call import Call
from torchedge_tflite.simulator.fixed_point import clamped, fused_limits, multiplier, rescaled

__all__ = ["added", "multiplied", "rectified", "rectified_below_six", "requantized", "subtracted"]

_RELU, _RELU6 = 1, 3
_ROOM_BITS = 20  # operands of a sum are widened by so many bits before they are rescaled


def added(call: Call) -> Array:
    """``ADD``: both operands on a common fine grid, their sum on the grid of the result."""
    return _summed(call, 1)


def subtracted(call: Call) -> Array:
    """``SUB``, likewise."""
    return _summed(call, -1)


def _summed(call: Call, sign: int) -> Array:
    common = 2 * max(call.scale(0), call.scale(1))
    first, second = (
        rescaled(call.steps(place) << _ROOM_BITS, multiplier(call.scale(place) / common))
        for place in (0, 1)
    )
    to_result = multiplier(common / (2**_ROOM_BITS * call.out_scale))
    return _ended(rescaled(first + sign * second, to_result), call)


def multiplied(call: Call) -> Array:
    """``MUL``: the product of the steps, rescaled once."""
    by = multiplier(call.scale(0) * call.scale(1) / call.out_scale)
    return _ended(rescaled(call.steps(0) * call.steps(1), by), call)


def _ended(x: Array, call: Call) -> Array:
    limits = fused_limits(
        call.number("fusedActivationFunction"), call.out_scale, call.out_zero_point
    )
    return clamped(x + call.out_zero_point, limits).reshape(call.output.shape)


def requantized(call: Call) -> Array:
    """``QUANTIZE`` from one int8 grid to another."""
    by = multiplier(call.scale(0) / call.out_scale)
    return clamped(rescaled(call.steps(0), by) + call.out_zero_point)


def rectified(call: Call) -> Array:
    """``RELU`` as an operator of its own, which may change the scale."""
    by = multiplier(float(np.float32(call.scale(0)) / np.float32(call.out_scale)))
    limits = fused_limits(_RELU, call.out_scale, call.out_zero_point)
    return clamped(rescaled(call.steps(0), by) + call.out_zero_point, limits)


def rectified_below_six(call: Call) -> Array:
    """``RELU6`` as an operator of its own: the device's kernel clips and never rescales."""
    return clamped(call.array(0), fused_limits(_RELU6, call.scale(0), call.zero_point(0)))
