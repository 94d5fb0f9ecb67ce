"""From a block of a recipe to a plain module."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from benchmarks.generated import joins, products, recipes, steps
from benchmarks.generated.convolutions import conv

__all__ = ["layer"]

_MODULES: Mapping[type, Callable[[Any, int, int], nn.Module]] = {
    recipes.Conv: conv,
    recipes.Residual: joins.Residual,
    recipes.Join: joins.Join,
    recipes.Split: joins.Split,
    recipes.Transposed: joins.Transposed,
    recipes.Shared: joins.Shared,
    recipes.Optional: joins.Optional,
    recipes.Resize: joins.Resize,
    recipes.Unflattened: joins.Unflattened,
    recipes.Training: steps.Training,
    recipes.Attention: steps.Attention,
    recipes.Excite: products.Excite,
    recipes.Product: products.Product,
    recipes.Scaled: steps.Scaled,
    recipes.Norm: steps.Norm,
}


def layer(spec: recipes.Block, channels: int, axes: int) -> nn.Module:
    """The module that a block is.

    Args:
        spec: The block.
        channels: Those that come in.
        axes: Of places: 1 for signals, 2 for pictures.

    Example:
        >>> layer(recipes.Conv(width=8), 16, 1)[0]
        Conv1d(16, 8, kernel_size=(3,), stride=(1,), padding=(1,))
    """
    return _MODULES[type(spec)](spec, channels, axes)
