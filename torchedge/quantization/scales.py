"""From a range to the scale and zero point of a grid: one, or one a channel, or one a group."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from torchedge.quantization.straight_through import RelativeStep, StraightThroughValue
from torchedge.scheme import QuantSpec

__all__ = [
    "BIAS_STEPS",
    "affine_params",
    "along_axis",
    "extremes",
    "group_ranges",
    "learned_step",
    "rounded_up",
    "steps",
    "sum_by_scale",
    "tensor_range",
    "total_magnitude",
    "weight_params",
    "widened_for_bias",
]

BIAS_STEPS = 2**30  # half of what int32 holds; the other half is left to the sums


def steps(spec: QuantSpec) -> int:
    """How many steps the range is cut into; of a symmetric grid, each half of it.

    Example:
        >>> steps(QuantSpec()), steps(QuantSpec(symmetric=False))
        (127, 255)
    """
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
    scale = torch.where(width > 0, (width / steps(spec)).clamp(min=smallest), 1.0)
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


def learned_step(
    start: Float[Tensor, "*c"], log_change: Float[Tensor, "*c"], spec: QuantSpec
) -> Float[Tensor, "*c"]:
    """A learned scale: ``start · exp(log_change)``, bounded, and short where ``spec`` says so.

    The exponent is squashed smoothly, so that the scale stays within 1/16 and 16 times its start;
    small changes pass as they are. Rounding up to short scales passes the gradient.

    Example:
        >>> change = torch.tensor([0.0, 0.01, -1e9])
        >>> learned_step(torch.full((3,), 0.16), change, QuantSpec())
        tensor([0.1600, 0.1616, 0.0100])
    """
    scale: Tensor = RelativeStep.apply(start, log_change)
    if spec.scale_bits is None:
        return scale
    short: Tensor = StraightThroughValue.apply(scale, rounded_up(scale, spec.scale_bits))
    return short


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


def extremes(x: Float[Tensor, "*s"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Smallest and largest value, read in one pass.

    Under ``torch.compile`` both are largest values: what its partitioner takes for fusible has
    ``amax`` in it and ``aminmax`` not, and behind an operation that it cannot fuse it stores every
    mask for the backward pass, transposed twice, and computes none again.

    Example:
        >>> extremes(torch.tensor([0.5, -2.0]))
        (tensor(-2.), tensor(0.5000))
    """
    if torch.compiler.is_compiling():
        return -(-x).amax(), x.amax()
    low, high = torch.aminmax(x)
    return low, high


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
    if spec.axis is None or spec.group_size is None:
        low, high = tensor_range(weight.detach(), spec.axis)
    else:
        low, high = group_ranges(weight.detach(), spec.axis, spec.group_size)
    return affine_params(low, high, spec)


def total_magnitude(weight: Float[Tensor, "*s"], spec: QuantSpec) -> Float[Tensor, "*c"]:
    """Sum of magnitudes over what shares a scale, 1 where all are zero; no gradient reaches it.

    Example:
        >>> total_magnitude(torch.tensor([[0.5, -1.5], [0.0, 0.0]]), QuantSpec(axis=0))
        tensor([2., 1.])
    """
    total = sum_by_scale(weight.detach().abs(), spec)
    return torch.where(total > 0, total, 1.0)


def along_axis(values: Tensor, x: Tensor, spec: QuantSpec) -> Tensor:
    """Scales or zero points in a shape that broadcasts over ``x``.

    Args:
        values: Of shape ``()``, ``(channels,)`` or ``(channels, groups)``.
        x: What they are the scales of.
        spec: Names the axis of the channels and the size of a group.

    Example:
        >>> scales = torch.tensor([[1.0, 2.0]])
        >>> along_axis(scales, torch.zeros(1, 3), QuantSpec(axis=0, group_size=2))
        tensor([[1., 1., 2.]])
    """
    if spec.axis is None or values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[spec.axis] = -1
    if spec.group_size is None:
        return values.view(shape)
    inputs = 1 - spec.axis
    shape[inputs] = x.shape[inputs]
    each = values.repeat_interleave(spec.group_size, dim=1)[:, : x.shape[inputs]]
    return (each if spec.axis == 0 else each.t()).reshape(shape)


def group_ranges(weight: Tensor, axis: int, size: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each group, of shape ``(channels, groups)``, zero included.

    Args:
        weight: Of at least two axes; the output channels are one of the first two.
        axis: The output channels' axis, 0 or 1; the input channels are the other one.
        size: Input channels of a group; the last group has what is left.

    Example:
        >>> low, high = group_ranges(torch.tensor([[1.0, -2.0, 3.0]]), axis=0, size=2)
        >>> low.tolist(), high.tolist()
        ([[-2.0, 0.0]], [[1.0, 3.0]])
    """
    groups = _in_groups(weight, axis, size)
    return groups.amin(2).clamp(max=0), groups.amax(2).clamp(min=0)


def _in_groups(weight: Tensor, axis: int, size: int) -> Tensor:
    """Of shape ``(channels, groups, values of a group)``, the last group filled with zeros."""
    rows = weight.flatten(2) if weight.ndim > 2 else weight.unsqueeze(2)
    rows = rows if axis == 0 else rows.transpose(0, 1)
    missing = -rows.shape[1] % size
    padded: Tensor = F.pad(rows, (0, 0, 0, missing))
    return padded.reshape(len(rows), -1, size * rows.shape[2])


def sum_by_scale(values: Tensor, spec: QuantSpec) -> Tensor:
    """Sums over what shares a scale, in the shape of the scales of :func:`weight_params`.

    Example:
        >>> sum_by_scale(torch.ones(2, 3), QuantSpec(axis=0))
        tensor([3., 3.])
        >>> sum_by_scale(torch.ones(2, 3), QuantSpec(axis=0, group_size=2))
        tensor([[2., 1.],
                [2., 1.]])
    """
    if spec.axis is None:
        return values.sum()
    if spec.group_size is not None:
        return _in_groups(values, spec.axis, spec.group_size).sum(2)
    return values.sum([d for d in range(values.ndim) if d != spec.axis % values.ndim])


def widened_for_bias(
    scale: Float[Tensor, "*c"], bias: Float[Tensor, " out"], input_scale: Float[Tensor, ""]
) -> Float[Tensor, "*c"]:
    """Weight scales at which a bias, in steps of ``input_scale · scale``, fits into int32.

    A channel whose weights are nearly zero has a scale so small that its bias is more steps than
    int32 holds. Such weights are negligible beside the bias, so a coarser grid changes the result
    by less than ``|bias| · inputs / 2^23``.

    Args:
        scale: One, or one for each output channel; groups of a transposed convolution share theirs.
        bias: One number for each output.
        input_scale: Of the activation that the layer reads.

    Example:
        >>> scales = widened_for_bias(torch.tensor([1e-12, 0.1]), torch.ones(2), torch.tensor(0.01))
        >>> [f"{float(scale):.2g}" for scale in scales]
        ['9.3e-08', '0.1']
    """
    largest = bias.abs().view(-1, len(scale)).amax(0) if scale.ndim else bias.abs().amax()
    return torch.maximum(scale, largest / (input_scale * BIAS_STEPS))
