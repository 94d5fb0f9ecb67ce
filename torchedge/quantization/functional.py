"""Quantisation as pure functions of tensors.

``round`` is round-half-to-even throughout, as ONNX and TensorRT do it. A per-channel scale has the
shape ``(channels,)`` and its axis is in the :class:`~torchedge.scheme.QuantSpec`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from torchedge.quantization.straight_through import (
    LearnedStepFakeQuantize,
    StraightThroughFakeQuantize,
    StraightThroughRound,
)
from torchedge.scheme import QuantSpec

__all__ = [
    "affine_params",
    "dequantize",
    "fake_quantize",
    "fold_batchnorm",
    "learned_step_quantize",
    "quantize",
    "round_ste",
    "rounded_up",
    "scale_channels",
    "tensor_range",
    "weight_params",
]


def round_ste(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Round half to even with the straight-through gradient (Bengio et al. 2013).

    Example:
        >>> round_ste(torch.tensor([0.5, 1.5, -0.6]))
        tensor([ 0.,  2., -1.])
    """
    rounded: Tensor = StraightThroughRound.apply(x)
    return rounded


def _along_axis(values: Tensor, x: Tensor, spec: QuantSpec) -> Tensor:
    """Scales or zero points in a shape that broadcasts over ``x``."""
    if spec.axis is None or values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[spec.axis] = -1
    if spec.group_size is None:
        return values.view(shape)
    grouped = _group_axis(spec)
    shape[spec.axis], shape[grouped] = values.shape[0], x.shape[grouped]
    each = values.repeat_interleave(spec.group_size, dim=1)[:, : x.shape[grouped]]
    return (each if spec.axis == 0 else each.t()).reshape(shape)


def _group_axis(spec: QuantSpec) -> int:
    """The axis of a weight's input channels, which is the one beside the output channels'."""
    return 1 if spec.axis == 0 else 0


def quantize(
    x: Float[Tensor, "*s"],
    scale: Float[Tensor, "*c"],
    zero_point: Int[Tensor, "*c"],
    spec: QuantSpec,
) -> Int[Tensor, "*s"]:
    """Integers of the grid: ``clip(round(x / scale) + zero_point, quant_min, quant_max)``.

    Example:
        >>> spec = QuantSpec(symmetric=False, signed=False)
        >>> x = torch.tensor([0.0, 0.3, 0.6, 0.9, 1.2])
        >>> quantize(x, torch.tensor(1.2 / 255), torch.tensor(0), spec).tolist()
        [0, 64, 128, 191, 255]
    """
    steps = torch.round(x / _along_axis(scale, x, spec)) + _along_axis(zero_point, x, spec)
    return torch.clamp(steps, spec.quant_min, spec.quant_max).to(torch.int32)


def dequantize(
    q: Int[Tensor, "*s"],
    scale: Float[Tensor, "*c"],
    zero_point: Int[Tensor, "*c"],
    spec: QuantSpec,
) -> Float[Tensor, "*s"]:
    """Real values that the integers stand for: ``scale · (q - zero_point)``.

    Example:
        >>> q = torch.tensor([113], dtype=torch.int32)
        >>> dequantize(q, torch.tensor(0.9 / 127), torch.tensor(0), QuantSpec())
        tensor([0.8008])
    """
    return (q - _along_axis(zero_point, q, spec)) * _along_axis(scale, q, spec)


def fake_quantize(
    x: Float[Tensor, "*s"],
    scale: Float[Tensor, "*c"],
    zero_point: Int[Tensor, "*c"],
    spec: QuantSpec,
) -> Float[Tensor, "*s"]:
    """Quantise and dequantise in one step, with the straight-through gradient inside the range.

    ``dequantize(quantize(x))`` forwards; backwards 1 where ``x`` was not clipped and 0 where it was
    (Jacob et al. 2018, section 3). Half-precision values come back in float32, because few steps of
    the grid have an exact half-precision number.

    Example:
        >>> x = torch.tensor([0.8, -2.0], requires_grad=True)
        >>> y = fake_quantize(x, torch.tensor(0.01), torch.tensor(0), QuantSpec())
        >>> y.sum().backward()
        >>> x.grad
        tensor([1., 0.])
    """
    quantized: Tensor = StraightThroughFakeQuantize.apply(
        _at_least_float32(x),
        _along_axis(scale, x, spec),
        _along_axis(zero_point, x, spec),
        spec.quant_min,
        spec.quant_max,
    )
    return quantized


def learned_step_quantize(
    x: Float[Tensor, "*s"],
    scale: Float[Tensor, "*c"],
    zero_point: Int[Tensor, "*c"],
    spec: QuantSpec,
    sharing: int,
) -> Float[Tensor, "*s"]:
    """:func:`fake_quantize` with a gradient for the scale (Esser et al. 2020, sections 2.1, 2.2).

    ``∂/∂s`` of one value is ``round(x/s) - x/s`` inside the range and the nearest bound, less the
    zero point, outside, times ``1 / √(sharing · steps)``; ``steps`` is ``quant_max`` of a symmetric
    grid and ``quant_max - quant_min`` of an asymmetric one.

    Args:
        x: Real values.
        scale: What learns; positive.
        zero_point: Stays as it is.
        spec: Integer grid.
        sharing: How many weights, or features of one sample, share one scale.

    Example:
        >>> scale = torch.tensor(0.5, requires_grad=True)
        >>> x = torch.tensor([0.7])
        >>> learned_step_quantize(x, scale, torch.tensor(0), QuantSpec(bits=2), 1).backward()
        >>> scale.grad  # clip(round(1.4)) - 1.4, over √1
        tensor(-0.4000)
    """
    quantized: Tensor = LearnedStepFakeQuantize.apply(
        _at_least_float32(x),
        _along_axis(scale, x, spec),
        _along_axis(zero_point, x, spec),
        spec.quant_min,
        spec.quant_max,
        1 / math.sqrt(sharing * _steps(spec)),
    )
    return quantized


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in {torch.bfloat16, torch.float16} else x


def _steps(spec: QuantSpec) -> int:
    return spec.quant_max if spec.symmetric else spec.quant_max - spec.quant_min


def affine_params(
    low: Float[Tensor, "*c"], high: Float[Tensor, "*c"], spec: QuantSpec
) -> tuple[Float[Tensor, "*c"], Int[Tensor, "*c"]]:
    """Scale and zero point that represent ``[low, high]``, with zero exactly on the grid.

    Symmetric: ``scale = max(|low|, |high|) / quant_max`` and zero point 0. Asymmetric: the range is
    widened to hold 0, ``scale = (high - low) / (quant_max - quant_min)`` and
    ``zero_point = clip(round(quant_min - low / scale))`` (Jacob et al. 2018, section 2). A range of
    width zero holds nothing but zeros, which every scale represents, so its scale is 1. Where the
    spec limits the scale's significant bits, the scale is rounded up to them.

    Example:
        >>> spec = QuantSpec(symmetric=False)
        >>> scale, zero_point = affine_params(torch.tensor(0.0), torch.tensor(1.2), spec)
        >>> round(float(scale), 8), int(zero_point)
        (0.00470588, -128)
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    width = torch.maximum(-low, high) if spec.symmetric else high - low
    smallest = torch.finfo(width.dtype).tiny
    scale = torch.where(width > 0, (width / _steps(spec)).clamp(min=smallest), 1.0)
    if spec.scale_bits is not None:
        scale = rounded_up(scale, spec.scale_bits)
    if spec.symmetric:
        return scale, torch.zeros_like(scale, dtype=torch.int32)
    zero_point = torch.round(spec.quant_min - low / scale)
    return scale, zero_point.clamp(spec.quant_min, spec.quant_max).to(torch.int32)


def rounded_up(scale: Float[Tensor, "*c"], bits: int) -> Float[Tensor, "*c"]:
    """The next number that has only ``bits`` significant bits.

    Example:
        >>> rounded_up(torch.tensor(0.13), bits=2)
        tensor(0.1875)
    """
    mantissa, exponent = torch.frexp(scale)
    return torch.ldexp(torch.ceil(mantissa * 2**bits) / 2**bits, exponent)


def tensor_range(
    x: Float[Tensor, "*s"], axis: int | None
) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
    """Smallest and largest value, over everything or for each index of ``axis``.

    Example:
        >>> low, high = tensor_range(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), axis=0)
        >>> low.tolist(), high.tolist()
        ([-2.0, 3.0], [1.0, 4.0])
    """
    if axis is None:
        return x.amin(), x.amax()
    others = [d for d in range(x.ndim) if d != axis % x.ndim]
    return x.amin(others), x.amax(others)


def weight_params(
    weight: Float[Tensor, "*s"], spec: QuantSpec
) -> tuple[Float[Tensor, "*c"], Int[Tensor, "*c"]]:
    """Min-max scale of a weight, for each channel of ``spec.axis``; no gradient reaches it.

    With ``spec.group_size`` the scales have the shape ``(output channels, groups)``: each run of
    that many input channels, with all their kernel positions, has a scale of its own, and a last
    run that does not fill a group has one too. In ONNX that is blocked quantisation along the axis
    of the input channels, with the same scale at every kernel position.

    Example:
        >>> weight = torch.tensor([[0.1, 0.0], [0.5, 0.0], [-1.0, 0.0]])
        >>> weight_params(weight, QuantSpec(axis=0, narrow=True))[0]
        tensor([0.0008, 0.0039, 0.0079])
    """
    if spec.group_size is None:
        low, high = tensor_range(weight.detach(), spec.axis)
    else:
        low, high = _group_ranges(weight.detach(), spec, spec.group_size)
    return affine_params(low, high, spec)


def _group_ranges(weight: Tensor, spec: QuantSpec, size: int) -> tuple[Tensor, Tensor]:
    """Ranges of shape ``(channels, groups)``; missing values of the last group count as zeros.

    Zeros change nothing, because every range is widened to hold zero.
    """
    rows = weight.flatten(2) if spec.axis == 0 else weight.flatten(2).transpose(0, 1)
    missing = -rows.shape[1] % size
    groups = F.pad(rows, (0, 0, 0, missing)).unflatten(1, (-1, size)).flatten(2)
    return groups.amin(2), groups.amax(2)


def scale_channels(
    weight: Float[Tensor, "*s"], factor: Float[Tensor, " out"], transposed_groups: int = 0
) -> Float[Tensor, "*s"]:
    """Multiply each output channel of a weight.

    The output channels are axis 0; of a transposed convolution with ``transposed_groups`` groups
    they are the groups of axis 0 times axis 1.

    Example:
        >>> scale_channels(torch.ones(2, 1), torch.tensor([1.0, 3.0])).tolist()
        [[1.0], [3.0]]
    """
    if not transposed_groups:
        return weight * factor.view(-1, *[1] * (weight.ndim - 1))
    grouped = weight.unflatten(0, (transposed_groups, -1))
    factors = factor.view(transposed_groups, 1, -1, *[1] * (weight.ndim - 2))
    return (grouped * factors).flatten(0, 1)


def fold_batchnorm(
    weight: Float[Tensor, "*s"],
    bias: Float[Tensor, " out"] | None,
    mean: Float[Tensor, " out"],
    variance: Float[Tensor, " out"],
    gamma: Float[Tensor, " out"] | None,
    beta: Float[Tensor, " out"] | None,
    epsilon: float,
    *,
    transposed_groups: int = 0,
) -> tuple[Float[Tensor, "*s"], Float[Tensor, " out"]]:
    """Weight and bias of the layer that does both its own work and the batch norm's after it.

    ``W' = γ / √(σ² + ε) · W`` and ``b' = γ (b - μ) / √(σ² + ε) + β`` (Jacob et al. 2018, section
    3.2), with the layer's own ε. For the output channels see :func:`scale_channels`.

    Example:
        >>> one = torch.ones(1)
        >>> weight, bias = fold_batchnorm(2 * torch.ones(1, 1), None, one, 4 * one, one, one, 0.0)
        >>> float(weight), float(bias)
        (1.0, 0.5)
    """
    factor = torch.rsqrt(variance + epsilon)
    factor = factor if gamma is None else factor * gamma
    shift = -mean if bias is None else bias - mean
    folded_bias = shift * factor if beta is None else shift * factor + beta
    return scale_channels(weight, factor, transposed_groups), folded_bias
