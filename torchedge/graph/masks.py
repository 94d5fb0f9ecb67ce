"""Masks of ``torch.nn.utils.prune`` in a form that can be copied and exported."""

import copy
from typing import final

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

__all__ = ["Mask", "copied_with_masks"]


@final
class Mask(nn.Module):
    """A parametrisation that keeps what a mask removed at zero.

    Args:
        mask: Ones and zeros in the shape of the parameter.

    Example:
        >>> import torch
        >>> Mask(torch.tensor([1.0, 0.0]))(torch.tensor([3.0, 4.0]))
        tensor([3., 0.])
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, parameter: Tensor) -> Tensor:
        """Multiply by the mask."""
        return parameter * self.mask


def copied_with_masks(model: nn.Module) -> nn.Module:
    """A deep copy in which hooks of ``torch.nn.utils.prune`` have become parametrisations.

    A hook leaves its product on the module as a tensor with a history, which cannot be copied; it
    computes that product anew at every call, so the copy does without.
    """
    products = _products(model)
    for module, name in products:
        setattr(module, name, getattr(module, name).detach())
    copied = copy.deepcopy(model)
    for module, name in _products(copied):
        original, mask = getattr(module, f"{name}_orig"), getattr(module, f"{name}_mask")
        prune.remove(module, name)
        setattr(module, name, nn.Parameter(original.detach().clone()))
        parametrize.register_parametrization(module, name, Mask(mask))
    return copied


def _products(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Modules and the names of their parameters that such a hook computes."""
    return [
        (module, name.removesuffix("_orig"))
        for module in model.modules()
        for name, _ in list(module.named_parameters(recurse=False))
        if name.endswith("_orig") and hasattr(module, f"{name.removesuffix('_orig')}_mask")
    ]
