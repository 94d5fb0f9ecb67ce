"""Exact sums of integer products, and of the windows of an average."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from torchedge.reference.graph import AVERAGE_POOL, MEAN, TRANSPOSED, windows_of

__all__ = ["along", "exact_sums", "per_output", "window_sums"]

_EXACT = 2**24  # float32 counts up to here
_LINEAR = torch.ops.aten.linear.default


def along(values: Tensor, rank: int, axis: int) -> Tensor:
    """Numbers of channels, shaped so that they broadcast along one axis."""
    if values.ndim == 0:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.view(shape)


def per_output(scales: Tensor, channels: int) -> Tensor:
    """One scale for each output channel; those of a grouped transposed convolution repeat."""
    return scales.repeat(channels // len(scales)) if scales.ndim else scales


def exact_sums(operation: Any, x: Tensor, weight: Tensor, options: list[Any]) -> Tensor:  # noqa: ANN401
    """Sums of integer products in float64, from float32 parts that are too small to round."""
    axis = 0 if operation in TRANSPOSED else 1
    inputs = weight.shape[axis]
    bound = float(weight.abs().transpose(0, 1 - axis).flatten(1).sum(1).amax() * x.abs().amax())
    if bound < _EXACT:
        return _call(operation, x, weight, options).double()
    if _groups(options) > 1:
        return _call(operation, x.double(), weight.double(), options)
    parts = min(inputs, int(2 * bound / _EXACT) + 1)
    channel = -1 if operation is _LINEAR else 1
    pairs = zip(x.tensor_split(parts, channel), weight.tensor_split(parts, axis), strict=True)
    return sum((exact_sums(operation, a, b, options) for a, b in pairs), torch.tensor(0.0).double())


def window_sums(node: fx.Node, integers: Tensor) -> tuple[Tensor, Tensor | int]:
    """Sums over the windows of an average, and how many values each has."""
    if node.target is AVERAGE_POOL:
        return _pool_sums(node, integers)
    keeps = node.target is not MEAN or (len(node.args) > 2 and bool(node.args[2]))
    return integers.sum((2, 3), keepdim=keeps), math.prod(integers.shape[2:])


def _pool_sums(pool: fx.Node, integers: Tensor) -> tuple[Tensor, Tensor | int]:
    kernel, stride, borders = windows_of(pool)
    summed = partial(
        nn.functional.avg_pool2d,
        kernel_size=kernel,
        stride=stride,
        padding=borders,
        divisor_override=1,
    )
    counted = len(pool.args) < 6 or bool(pool.args[5])
    return summed(integers), math.prod(kernel) if counted else summed(torch.ones_like(integers))


def _groups(options: list[Any]) -> int:
    return max([value for value in options if isinstance(value, int)], default=1)


def _call(operation: Any, x: Tensor, weight: Tensor, options: list[Any]) -> Tensor:  # noqa: ANN401
    result: Tensor = operation(x, weight, None, *options)
    return result
