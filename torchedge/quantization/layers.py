"""The layers that have weights: applying one with other weights, and reading pruned ones."""

from typing import TypeAlias, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm

__all__ = [
    "TRANSPOSED",
    "WeightedLayer",
    "apply_layer",
    "masked_parameters",
    "without_spectral_norm",
]

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
    """Weight and bias of a layer, with masks and spectral norms of ``torch.nn.utils`` applied.

    These hooks compute the weight when the layer itself is called, which a quantised layer never
    does: its ``weight`` would be that of the day on which the hook was registered.

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
    norm = _spectral_norm(layer, name)
    if norm is not None:
        weight: Tensor = norm.compute_weight(layer, do_power_iteration=layer.training)
        setattr(layer, name, weight.detach())  # the weight in use, for whoever looks
        return weight
    mask: Tensor | None = getattr(layer, f"{name}_mask", None)
    value: Tensor | None = getattr(layer, name if mask is None else f"{name}_orig")
    return value if mask is None or value is None else value * mask


def _spectral_norm(layer: nn.Module, name: str) -> SpectralNorm | None:
    hooks = layer._forward_pre_hooks.values()
    return next((h for h in hooks if isinstance(h, SpectralNorm) and h.name == name), None)


def without_spectral_norm(layer: nn.Module) -> None:
    """Take the hook of ``torch.nn.utils.spectral_norm`` off, in place; its weight is set anew."""
    for key, hook in list(layer._forward_pre_hooks.items()):
        if isinstance(hook, SpectralNorm):
            del layer._forward_pre_hooks[key]
            delattr(layer, hook.name)
            for part in ("orig", "u", "v"):
                delattr(layer, f"{hook.name}_{part}")


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
