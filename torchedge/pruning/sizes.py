"""Numbers in a network's code that count channels."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch.nn.functional as F
from torch import Tensor, fx

from torchedge.pruning.arguments import (
    AXIS,
    PARTS,
    START,
    argument,
    axis_of_sections,
    groups_argument,
    size_arguments,
)
from torchedge.pruning.labels import Labels, axes_of, compact
from torchedge.pruning.units import Units

__all__ = ["Counted", "NodeLabels", "counted_sizes", "units_along", "units_of_groups"]

_SECTIONS = {"chunk", "split", "tensor_split", "split_with_sizes"}
_HOLD_GROUPS = {f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3)}


@final
@dataclass(frozen=True, kw_only=True)
class Counted:
    """A number of the code and the labels that it counts."""

    node: str
    place: str
    value: int
    labels: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class NodeLabels:
    """What a node took and gave.

    Args:
        operand: Labels of its first operand.
        results: Labels of each result.
        shares_memory: Whether the result lies in the operand's memory.
        numbers: What the code computed that it took, such as half of a size.
    """

    operand: Labels | None
    results: tuple[Labels, ...]
    shares_memory: bool = False
    numbers: Mapping[fx.Node, int] = field(default_factory=dict)


_Finder: TypeAlias = Callable[[fx.Node, NodeLabels, Units], Iterator[Counted]]


def counted_sizes(
    node: fx.Node, graph_module: fx.GraphModule, seen: NodeLabels, units: Units
) -> Iterator[Counted]:
    """The numbers of a node that count labelled channels."""
    finder = _FINDERS.get(_name(node, graph_module))
    if finder is not None:
        yield from finder(node, seen, units)


def _name(node: fx.Node, graph_module: fx.GraphModule) -> str:
    if node.op == "call_module":
        return type(graph_module.get_submodule(str(node.target))).__name__
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def units_along(labels: Labels, axis: int, units: Units) -> Tensor | None:
    """The units along one axis, after everything was joined; ``None`` if they do not differ."""
    for layer in labels.layers:
        final = compact(units.roots(layer))
        if axes_of(final) == (axis,):
            return final.reshape(-1)
    return None


def units_of_groups(labels: Labels, groups: int, units: Units) -> Tensor | None:
    """The unit of each group of channels; ``None`` where groups are not units."""
    along = units_along(labels, 1, units)
    if along is None or groups < 2:
        return None
    blocks = along.view(groups, -1)
    return blocks[:, 0] if bool((blocks == blocks[:, :1]).all()) else None


def _shape_sizes(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    result = seen.results[0]
    sizes = size_arguments(node)
    if any(isinstance(size, fx.Node) and size not in seen.numbers for size in sizes):
        sizes = result.shape  # given as the whole shape of another tensor
    offset = len(result.shape) - len(sizes)
    for place, size in enumerate(sizes):
        axis = place + offset
        labels = units_along(result, axis, units)
        if labels is not None and isinstance(size, int | fx.Node) and size != -1:
            yield Counted(
                node=node.name, place=f"size {place}", value=result.shape[axis], labels=labels
            )


def _unflattened_sizes(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    assert seen.operand is not None
    if node.op == "call_module":
        return  # a number of the layer, not of the code
    axis, sizes = argument(node, *AXIS), argument(node, *PARTS)
    assert isinstance(axis, int)
    assert isinstance(sizes, tuple | list)
    begin = axis % len(seen.operand.shape)
    for place, size in enumerate(sizes):
        labels = units_along(seen.results[0], begin + place, units)
        if labels is not None and size != -1:
            yield Counted(node=node.name, place=f"part {place}", value=len(labels), labels=labels)


def _sections(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    """Of the operand: a section of one channel differs along no axis, and has its unit."""
    axis = axis_of_sections(node)
    assert seen.operand is not None
    axis %= len(seen.operand.shape)
    labels = units_along(seen.operand, axis, units)
    if labels is None:
        return
    sizes = [result.shape[axis] for result in seen.results]
    for place, inside in enumerate(labels.split(sizes)):
        yield Counted(node=node.name, place=f"section {place}", value=len(inside), labels=inside)


def _slice_bounds(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    if seen.operand is None:
        return
    for axis, number, part in _slices(node.args[1], len(seen.operand.shape)):
        labels = units_along(seen.operand, axis, units)
        if labels is None:
            continue
        for end in ("start", "stop"):
            bound = getattr(part, end)
            if bound is not None:
                value = _place_of(bound, seen, labels, units)
                yield Counted(
                    node=node.name, place=f"{end} {number}", value=value, labels=labels[:value]
                )


def _place_of(bound: object, seen: NodeLabels, labels: Tensor, units: Units) -> int:
    """Where a bound is, from the front; of one that only a tensor holds nothing is known."""
    place = seen.numbers.get(bound, bound) if isinstance(bound, fx.Node) else bound
    if not isinstance(place, int):
        units.close(labels, "it is cut at a place that a tensor holds")
        return 0
    return min(max(place if place >= 0 else place + len(labels), 0), len(labels))


def _slices(index: object, rank: int) -> Iterator[tuple[int, int, slice]]:
    """Slices of an index, with axis and number in the index; none where an axis is added."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(part is None for part in parts):
        return
    skipped = 0
    for number, part in enumerate(parts):
        if part is Ellipsis:
            skipped = rank - len(parts)
        elif isinstance(part, slice):
            yield number + skipped, number, part


def _narrowed(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    axis = argument(node, *AXIS)
    assert isinstance(axis, int)
    assert seen.operand is not None
    axis %= len(seen.operand.shape)
    labels = units_along(seen.operand, axis, units)
    if labels is None:
        return
    start = _place_of(argument(node, *START), seen, labels, units)
    inside = labels[start : start + seen.results[0].shape[axis]]
    yield Counted(node=node.name, place="first", value=start, labels=labels[:start])
    yield Counted(node=node.name, place="length", value=len(inside), labels=inside)


def _normalized_shape(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    shape = size_arguments(node)
    result = seen.results[0]
    for place in range(len(shape)):
        labels = units_along(result, len(result.shape) - len(shape) + place, units)
        if labels is not None:
            yield Counted(node=node.name, place=f"size {place}", value=len(labels), labels=labels)


def _groups(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    """A depthwise convolution, or a norm of each channel, loses whole groups."""
    groups = argument(node, *groups_argument(node), default=1)
    assert seen.operand is not None
    assert isinstance(groups, int)
    labels = units_of_groups(seen.operand, groups, units)
    if labels is not None:
        yield Counted(node=node.name, place="groups", value=groups, labels=labels)


_FINDERS: Mapping[str, _Finder] = {
    **dict.fromkeys(("view", "reshape", "expand"), _shape_sizes),
    **dict.fromkeys(("view_as", "reshape_as", "expand_as"), _shape_sizes),
    **dict.fromkeys(_SECTIONS, _sections),
    **dict.fromkeys({*_HOLD_GROUPS, "group_norm"}, _groups),
    "unflatten": _unflattened_sizes,
    operator.getitem.__name__: _slice_bounds,
    "narrow": _narrowed,
    F.layer_norm.__name__: _normalized_shape,
}
