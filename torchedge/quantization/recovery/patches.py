"""Any weighted layer as a matrix product: the rows that its weight is multiplied with."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchedge.quantization.modules import TRANSPOSED, WeightedLayer

__all__ = ["as_matrix", "from_matrix", "other_axes", "sample_rows"]


def other_axes(layer: WeightedLayer, output: Tensor) -> list[int]:
    """The axes of a layer's output that are not its channels."""
    channel = (
        output.ndim - 1 if isinstance(layer, nn.Linear) else output.ndim + 1 - layer.weight.ndim
    )
    return [axis for axis in range(output.ndim) if axis != channel]


def as_matrix(weight: Tensor, layer: WeightedLayer) -> Tensor:
    """A weight as ``(groups, outputs of a group, inputs of a group times taps)``.

    The kernel of a transposed convolution is flipped: it then meets the patches of a convolution.
    """
    if not isinstance(layer, TRANSPOSED):
        groups = 1 if isinstance(layer, nn.Linear) else layer.groups
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    flipped: Tensor = weight.flip(tuple(range(2, weight.ndim)))
    by_group: Tensor = flipped.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(2)
    return by_group


def from_matrix(matrix: Tensor, layer: WeightedLayer) -> Tensor:
    """The inverse of :func:`as_matrix`."""
    if not isinstance(layer, TRANSPOSED):
        return matrix.reshape(layer.weight.shape)
    inputs = layer.in_channels // layer.groups
    taps: Tensor = matrix.unflatten(2, (inputs, *layer.weight.shape[2:]))
    flipped: Tensor = taps.transpose(1, 2).flatten(0, 1)
    return flipped.flip(tuple(range(2, layer.weight.ndim)))


def sample_rows(
    layer: WeightedLayer,
    x: Tensor,
    target: Tensor,
    most: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Patches and target outputs at random positions, at most ``most`` of them.

    Args:
        layer: The layer that reads the patches.
        x: Its input.
        target: An output of the layer, which names the positions.
        most: Number of positions to draw, over the whole batch.
        generator: Of the draw.

    Returns:
        Patches of shape ``(groups, rows, inputs of a group times taps)`` and targets of shape
        ``(groups, rows, outputs of a group)``; their product with :func:`as_matrix` is the output
        without its bias.
    """
    if isinstance(layer, nn.Linear):
        rows, wanted = x.flatten(0, -2), target.flatten(0, -2)
        chosen = _choice(len(rows), most, generator)
        return rows[chosen][None], wanted[chosen][None]
    windows = _windows(layer, x)
    positions = target[0, 0].numel()
    chosen = _choice(positions, max(most // len(x), 1), generator)
    places: Any = (slice(None), slice(None), *torch.unravel_index(chosen, target.shape[2:]))
    patches = windows[places].flatten(3)
    wanted = target[places]
    by_group = patches.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2, 4)
    targets = wanted.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2)
    return by_group.flatten(3).flatten(1, 2), targets.flatten(1, 2)


def _choice(count: int, most: int, generator: torch.Generator) -> Tensor:
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:most]


def _windows(layer: WeightedLayer, x: Tensor) -> Tensor:
    """A view ``(batch, channels, *positions, *kernel)`` of the padded input."""
    assert not isinstance(layer, nn.Linear)
    kernel, dilation = layer.kernel_size, layer.dilation
    stride: tuple[int, ...] = layer.stride
    if isinstance(layer, TRANSPOSED):
        x = _spread(layer, x)
        stride = (1,) * len(kernel)
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, _edges(layer), mode=mode)
    for axis, (size, gap, step) in enumerate(zip(kernel, dilation, stride, strict=True), start=2):
        x = x.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    return x


def _edges(layer: WeightedLayer) -> list[int]:
    """Widths of the border, last axis first, before and after: from ``padding`` as it is *now*.

    What a convolution computed from it when it was made stays when the attribute is changed, as it
    is where a border has become an operation of its own.
    """
    assert not isinstance(layer, nn.Linear)
    edges: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            whole = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            edges += [whole // 2, whole - whole // 2]
        else:
            edges += 2 * [0 if layer.padding == "valid" else int(layer.padding[axis])]
    return edges


def _spread(layer: WeightedLayer, x: Tensor) -> Tensor:
    """The input of the convolution that a transposed one is: zeros between and around."""
    assert isinstance(layer, TRANSPOSED)
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], layer.stride, strict=True)]
    spread = x.new_zeros((*x.shape[:2], *sizes))
    sites: Any = (..., *(slice(None, None, step) for step in layer.stride))
    spread[sites] = x
    around: list[int] = []
    for axis in reversed(range(len(sizes))):
        edge = layer.dilation[axis] * (layer.kernel_size[axis] - 1) - int(layer.padding[axis])
        around += [edge, edge + layer.output_padding[axis]]
    return F.pad(spread, around)
