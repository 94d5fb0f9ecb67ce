"""From a recipe to a network with weights, and to data for it."""

from typing import TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.generated import recipes
from benchmarks.generated.convolutions import CONV
from benchmarks.generated.layers import layer
from benchmarks.generated.recipes import Block, Recipe
from benchmarks.unseen.subjects import Subject, settled

__all__ = ["Generated", "GeneratedWithOption", "generated"]

Answer: TypeAlias = Tensor | tuple[Tensor, Tensor] | dict[str, Tensor]
_WIDTH, _WIDTHS = 16, (8, 16, 24, 32)
_SIDE = {1: 16, 2: 8}
_SEEN, _UNSEEN = 64, 128
_LEAST_SIDE, _MOST_SIDE = 4, 16


class Generated(nn.Module):
    """A first convolution, the blocks, and a head.

    Args:
        recipe: What it is made of. Blocks that do not fit the sides are left out; layers of one
            place put channels back to 16 where a block would make too many or an odd number.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.head, axes = recipe.head, recipe.axes
        self.start = CONV[axes](3, _WIDTH, 3, padding=1)
        self.blocks = nn.Sequential()
        x = torch.zeros(2, _WIDTH, *(_SIDE[axes],) * axes)
        for spec in recipe.blocks:
            x = self._add(spec, x, axes)
        channels = x.shape[1]
        self.classes = nn.Linear(channels * (2**axes if self.head == "flattened" else 1), 10)
        self.pool = nn.AdaptiveAvgPool1d(2) if axes == 1 else nn.AdaptiveAvgPool2d(2)
        self.places, self.certain = CONV[axes](channels, 4, 1), CONV[axes](channels, 1, 1)

    def _add(self, spec: Block, x: Tensor, axes: int) -> Tensor:
        if not _fits(spec, x.shape[-1]):
            return x
        made = [layer(spec, x.shape[1], axes)]
        y = _shown(made[0], x)
        if y.shape[1] not in _WIDTHS:
            made.append(CONV[axes](y.shape[1], _WIDTH, 1))
            y = _shown(made[1], y)
        self.blocks.extend(made)
        return y

    def forward(self, x: Tensor) -> Answer:
        """What the head gives."""
        return self._headed(self.blocks(torch.relu(self.start(x))))

    def _headed(self, x: Tensor) -> Answer:
        if self.head == "places":
            scores: Tensor = self.places(x)
            return scores
        if self.head == "gated":
            certain: Tensor = self.places(x) * torch.sigmoid(self.certain(x))
            return certain
        if self.head == "mean":
            means: Tensor = self.classes(x.mean(tuple(range(2, x.ndim))))
            return means
        if self.head == "flattened":
            logits: Tensor = self.classes(torch.flatten(self.pool(x), 1))
            return logits
        pooled: Tensor = self.classes(x.flatten(2).mean(2))
        if self.head == "named":
            return {"classes": pooled, "places": self.places(x)}
        return (pooled, self.places(x)) if self.head == "two" else pooled


@final
class GeneratedWithOption(Generated):
    """The same with an argument that may be left out."""

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Answer:
        """What the head gives; scaled before it where a factor is given."""
        y = self.blocks(torch.relu(self.start(x)))
        return self._headed(y if factor is None else 2 * y * factor)


def _fits(spec: Block, side: int) -> bool:
    smaller = isinstance(spec, recipes.Conv) and spec.stride == 2
    larger = isinstance(spec, recipes.Transposed)
    if isinstance(spec, recipes.Resize):
        smaller, larger = (
            spec.form in {"max", "average"},
            spec.form in {"nearest", "linear", "places"},
        )
    return not (smaller and side < _LEAST_SIDE) and not (larger and 2 * side > _MOST_SIDE)


@torch.no_grad()
def _shown(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = module.eval()(x)
    return y


def generated(recipe: Recipe) -> Subject:
    """The network of a recipe, in evaluation mode, with inputs to calibrate it and others.

    Example:
        >>> from benchmarks.generated.recipes import Conv, Residual
        >>> recipe = Recipe(blocks=(Conv(norm=True), Residual()), head="places")
        >>> made = generated(recipe)
        >>> made.model(made.unseen).shape
        torch.Size([128, 4, 8, 8])
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.seed)
        model = (GeneratedWithOption if recipe.optional else Generated)(recipe)
        sides = (_SIDE[recipe.axes],) * recipe.axes
        data = torch.randn(_SEEN + _UNSEEN, 3, *sides)
        smooth = F.avg_pool1d(data.flatten(2), 3, 1, 1).reshape(data.shape)
    return Subject(model=settled(model, smooth[:_SEEN]), seen=smooth[:_SEEN], unseen=smooth[_SEEN:])
