"""Convolutions and matrix products: exact sums, then one rescaling for each output channel."""

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.call import Call
from torchedge_tflite.simulator.fixed_point import (
    Multiplier,
    clamped,
    fused_limits,
    multipliers,
    rescaled,
)
from torchedge_tflite.simulator.windows import Sliding, views

__all__ = ["convolution", "depthwise_convolution", "fully_connected"]


def convolution(call: Call) -> Array:
    """``CONV_2D`` with weights of output channel, height, width, input channel of the group.

    Sums are float64 matrix products: every partial sum is a whole number far below 2^53.
    """
    weight, x = call.array(1).astype(np.float64), call.steps(0).astype(np.float64)
    sliding = Sliding.of(call, (weight.shape[1], weight.shape[2]))
    groups = x.shape[3] // weight.shape[3]
    pairs = zip(np.split(x, groups, 3), np.split(weight, groups, 0), strict=True)
    sums = [_sum_of_products(part, kernels, sliding) for part, kernels in pairs]
    return _finished(np.concatenate(sums, 3), call, _scaling(call))


def _sum_of_products(x: Array, weight: Array, sliding: Sliding) -> Array:
    products = (view @ weight[:, row, column, :].T for row, column, view in views(x, sliding, 0))
    return np.asarray(sum(products))


def depthwise_convolution(call: Call) -> Array:
    """``DEPTHWISE_CONV_2D``; output channel ``c·m + i`` reads input channel ``c``."""
    weight = call.array(1).astype(np.int64)[0]
    sliding = Sliding.of(call, (weight.shape[0], weight.shape[1]))
    x = np.repeat(call.steps(0), weight.shape[2] // call.tensor(0).shape[3], axis=3)
    sums = sum(view * weight[row, column] for row, column, view in views(x, sliding, 0))
    return _finished(np.asarray(sums), call, _scaling(call))


def fully_connected(call: Call) -> Array:
    """``FULLY_CONNECTED``; with one scale for the weight, its product with the input's is float32.

    A weight with a scale for each row is rescaled like a convolution.
    """
    weight = call.array(1).astype(np.float64)
    rows = call.steps(0).reshape(-1, weight.shape[1]).astype(np.float64)
    if len(call.tensor(1).scales) > 1:
        return _finished(rows @ weight.T, call, _scaling(call))
    product = np.float32(call.scale(0)) * np.float32(call.scale(1))
    return _finished(rows @ weight.T, call, multipliers([float(product) / call.out_scale]))


def _scaling(call: Call) -> Multiplier:
    scales = call.tensor(1).scales
    return multipliers([call.scale(0) * scale / call.out_scale for scale in scales])


def _finished(sums: Array, call: Call, by: Multiplier) -> Array:
    """Bias, rescaling, zero point and the activation inside the operator."""
    whole = sums.astype(np.int64)
    if call.has(2):
        whole = whole + call.array(2).astype(np.int64)
    limits = fused_limits(
        call.number("fusedActivationFunction"), call.out_scale, call.out_zero_point
    )
    result = clamped(rescaled(whole, by) + call.out_zero_point, limits)
    return result.reshape(call.output.shape)
