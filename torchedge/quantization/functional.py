"""Quantisation as pure functions of tensors.

``round`` is round-half-to-even throughout, as ONNX and TensorRT do it. A per-channel scale has the
shape ``(channels,)`` and its axis is in the :class:`~torchedge.scheme.QuantSpec`.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchedge.quantization.scales import (
    affine_params,
    along_axis,
    learned_step,
    rounded_up,
    steps,
    tensor_range,
    weight_params,
)
from torchedge.quantization.straight_through import (
    LearnedStepFakeQuantize,
    StraightThroughFakeQuantize,
    StraightThroughRound,
    StraightThroughValue,
)
from torchedge.scheme import QuantSpec

__all__ = [
    "affine_params",
    "dequantize",
    "fake_quantize",
    "fake_quantize_unclipped",
    "fold_batchnorm",
    "learned_step",
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
    steps = torch.round(x / along_axis(scale, x, spec)) + along_axis(zero_point, x, spec)
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
    return (q - along_axis(zero_point, q, spec)) * along_axis(scale, q, spec)


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
        along_axis(scale, x, spec),
        along_axis(zero_point, x, spec),
        spec.quant_min,
        spec.quant_max,
    )
    return quantized


def fake_quantize_unclipped(
    x: Float[Tensor, "*s"],
    scale: Float[Tensor, "*c"],
    zero_point: Int[Tensor, "*c"],
    spec: QuantSpec,
) -> Float[Tensor, "*s"]:
    """:func:`fake_quantize` where it is known that nothing is clipped: the gradient passes whole.

    Example:
        >>> x = torch.tensor([0.8], requires_grad=True)
        >>> fake_quantize_unclipped(x, torch.tensor(0.5), torch.tensor(0), QuantSpec())
        tensor([1.], grad_fn=<StraightThroughValueBackward>)
    """
    value = fake_quantize(x.detach(), scale, zero_point, spec)
    quantized: Tensor = StraightThroughValue.apply(x, value)
    return quantized


def learned_step_quantize(
    x: Float[Tensor, "*s"],
    scale: Float[Tensor, "*c"],
    zero_point: Int[Tensor, "*c"],
    spec: QuantSpec,
    sharing: int,
    *,
    frees_clipped: bool = False,
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
        frees_clipped: Clipped values get the gradient too, for weights: an activation is clipped in
            some samples, a clipped weight would be in all of them and never move again.

    Example:
        >>> scale = torch.tensor(0.5, requires_grad=True)
        >>> x = torch.tensor([0.7])
        >>> learned_step_quantize(x, scale, torch.tensor(0), QuantSpec(bits=2), 1).backward()
        >>> scale.grad  # clip(round(1.4)) - 1.4, over √1
        tensor(-0.4000)
    """
    quantized: Tensor = LearnedStepFakeQuantize.apply(
        _at_least_float32(x),
        along_axis(scale, x, spec),
        along_axis(zero_point, x, spec),
        spec.quant_min,
        spec.quant_max,
        1 / math.sqrt(sharing * steps(spec)),
        frees_clipped,
    )
    return quantized


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in {torch.bfloat16, torch.float16} else x


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
    scaled: Tensor = (grouped * factors).flatten(0, 1)
    return scaled


def fold_batchnorm(  # noqa: PLR0913
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
