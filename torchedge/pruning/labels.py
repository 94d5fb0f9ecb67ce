"""Labels of a tensor's entries, carried through operators.

A *layer* of labels is a tensor of integers that broadcasts to the tensor it describes; it has size
1 along every axis on which the labels do not differ. A tensor may have several layers, for example
a weight one along its outputs and one along its inputs; an entry is there as long as the units of
all its labels are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from torchedge.pruning.units import FIXED, Units

__all__ = [
    "Labels",
    "axes_of",
    "compact",
    "concatenated",
    "gathered",
    "joined",
    "line",
    "moved",
    "shared",
    "without",
]


@final
@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is known of a tensor.

    Args:
        shape: Of the tensor.
        layers: Its layers of labels; no two differ along the same axis.
        parameter: The parameter that it is a view of, or an empty text.
    """

    shape: tuple[int, ...]
    layers: tuple[Tensor, ...] = ()
    parameter: str = ""

    def along(self, axis: int) -> Tensor | None:
        """The layer that differs along an axis."""
        axis %= max(len(self.shape), 1)
        return next((layer for layer in self.layers if axis in axes_of(layer)), None)


def axes_of(layer: Tensor) -> tuple[int, ...]:
    """The axes along which labels differ."""
    return tuple(axis for axis, size in enumerate(layer.shape) if size > 1)


def compact(labels: Tensor) -> Tensor:
    """Labels with size 1 along every axis on which they do not differ."""
    for axis, size in enumerate(labels.shape):
        if size < 2:
            continue
        first = labels.narrow(axis, 0, 1)
        if labels.stride(axis) == 0 or bool((labels == first).all()):
            labels = first
    return labels


def line(layer: Tensor, axis: int) -> Tensor:
    """The labels along an axis, at the first place of the others."""
    for other in range(layer.ndim):
        layer = layer if other == axis else layer.narrow(other, 0, 1)
    return layer


def shared(units: Units, layers: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Layers of equal dimension, joined where two differ along the same axis."""
    done: list[Tensor] = []
    for layer in layers:
        current = layer
        for other in [o for o in done if set(axes_of(o)) & set(axes_of(current))]:
            units.join(current, other)
            done = [o for o in done if o is not other]
            current = other if len(axes_of(other)) <= len(axes_of(current)) else current
        if axes_of(current):
            done.append(current)
    return tuple(done)


def joined(units: Units, operands: Sequence[Labels], shape: tuple[int, ...]) -> Labels:
    """The labels of an operation entry by entry, whose operands broadcast to ``shape``.

    What differs in one operand and is unlabelled in another of the same size cannot be removed.
    """
    aligned = [
        [layer.view((1,) * (len(shape) - layer.ndim) + tuple(layer.shape)) for layer in o.layers]
        for o in operands
    ]
    everything = [layer for layers in aligned for layer in layers]
    for operand, layers in zip(operands, aligned, strict=True):
        sizes = (1,) * (len(shape) - len(operand.shape)) + operand.shape
        mine = {axis for layer in layers for axis in axes_of(layer)}
        bare = {axis for axis, size in enumerate(sizes) if size > 1} - mine
        for layer in everything:
            if bare & set(axes_of(layer)):
                units.close(layer, "it meets values that are not a layer's")
    return Labels(shape=shape, layers=shared(units, everything), parameter=_parameter(operands))


def _parameter(operands: Sequence[Labels]) -> str:
    """Of a product of parameters, such as a weight and its mask, the first."""
    names = [operand.parameter for operand in operands]
    return names[0] if names and all(names) else ""


def moved(units: Units, labels: Labels, move: Callable[[Tensor], Tensor]) -> Labels:
    """The labels after an operator that only moves entries: the same operator, on labels."""
    known = [layer if labels.parameter else units.roots(layer) for layer in labels.layers]
    layers = [move(layer.expand(labels.shape)) for layer in known]
    if not layers:
        shape = move(torch.empty(1, dtype=torch.bool).expand(labels.shape)).shape
        return Labels(shape=tuple(shape), parameter=labels.parameter)
    kept = [layer for layer in map(compact, layers) if axes_of(layer)]
    return Labels(shape=tuple(layers[0].shape), layers=tuple(kept), parameter=labels.parameter)


def concatenated(units: Units, operands: Sequence[Labels], axis: int) -> Labels:
    """The labels of a concatenation."""
    axis %= len(operands[0].shape)
    across = [
        Labels(
            shape=tuple(1 if a == axis else size for a, size in enumerate(o.shape)),
            layers=tuple(layer for layer in o.layers if axis not in axes_of(layer)),
        )
        for o in operands
    ]
    shape = list(operands[0].shape)
    shape[axis] = sum(o.shape[axis] for o in operands)
    others = joined(units, across, tuple(1 if a == axis else s for a, s in enumerate(shape)))
    along = [o.along(axis) for o in operands]
    layers = list(others.layers)
    if any(layer is not None for layer in along):
        layers.append(_joined_ends(operands, along, axis))
    return Labels(shape=tuple(shape), layers=shared(units, layers))


def _joined_ends(operands: Sequence[Labels], along: Sequence[Tensor | None], axis: int) -> Tensor:
    sizes = [
        max(1 if layer is None else layer.shape[a] for layer in along)
        for a in range(len(operands[0].shape))
    ]
    parts = []
    for operand, layer in zip(operands, along, strict=True):
        sizes[axis] = operand.shape[axis]
        if layer is None:
            layer = torch.full((1,) * len(sizes), FIXED)
        parts.append(layer.expand(sizes))
    return torch.cat(parts, axis)


def without(units: Units, labels: Labels, axes: Sequence[int], reason: str) -> tuple[Tensor, ...]:
    """The layers that do not differ along ``axes``; those that do are closed."""
    kept = []
    for layer in labels.layers:
        if set(axes_of(layer)) & {axis % len(labels.shape) for axis in axes}:
            units.close(layer, reason)
        else:
            kept.append(layer)
    return tuple(kept)


def gathered(units: Units, labels: Labels, axes: Sequence[int], reason: str) -> tuple[Tensor, ...]:
    """The layers without ``axes``, whose entries become one; those of nothing else are closed.

    A linear layer that is reshaped to channels and places has a label at every place; all places of
    a channel stay or go together.
    """
    inside = {axis % len(labels.shape) for axis in axes}
    kept = []
    for layer in labels.layers:
        mine = [axis for axis in axes_of(layer) if axis in inside]
        if mine == list(axes_of(layer)):
            units.close(layer, reason)
            continue
        whole = layer
        for axis in mine:
            units.join_along(whole, axis)
            whole = whole.narrow(axis, 0, 1)
        kept.append(whole)
    return tuple(kept)
