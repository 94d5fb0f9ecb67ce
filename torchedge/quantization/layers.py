"""The layers that have weights: applying one with other weights, and reading pruned ones."""

from typing import TypeAlias, cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TRANSPOSED", "WeightedLayer", "apply_layer", "masked_parameters"]

WeightedLayer: TypeAlias = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
    | nn.Linear
)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def apply_layer(layer: WeightedLayer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``layer`` computes, with another weight and bias in place of its own."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, TRANSPOSED):
        return _transposed(layer, x, weight, bias)
    convolved: Tensor = layer._conv_forward(x, weight, bias)
    return convolved


def masked_parameters(layer: WeightedLayer) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer, with the masks of ``torch.nn.utils.prune`` applied.

    That package applies masks when the layer itself is called, which a quantised layer never does:
    its ``weight`` would be the one of the day of pruning.

    Example:
        >>> from torch.nn.utils import prune
        >>> layer = prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
        >>> int((masked_parameters(layer)[0] == 0).sum())
        1
    """
    weight, bias = (_masked_parameter(layer, name) for name in ("weight", "bias"))
    assert weight is not None
    return weight, bias


def _masked_parameter(layer: nn.Module, name: str) -> Tensor | None:
    mask: Tensor | None = getattr(layer, f"{name}_mask", None)
    value: Tensor | None = getattr(layer, name if mask is None else f"{name}_orig")
    return value if mask is None or value is None else value * mask


def _transposed(layer: WeightedLayer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    functions = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
    assert isinstance(layer, TRANSPOSED)
    result: Tensor = functions[weight.ndim](
        x,
        weight,
        bias,
        layer.stride,
        cast(tuple[int, ...], layer.padding),  # in words only where nothing is transposed
        layer.output_padding,
        layer.groups,
        layer.dilation,
    )
    return result
