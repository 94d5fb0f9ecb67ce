"""Numbers in a network's code that count channels: finding them, and writing them anew."""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from torchedge.pruning.labels import Labels, axes_of, compact
from torchedge.pruning.units import Units

__all__ = ["Counted", "NodeLabels", "counted_sizes", "set_sizes", "units_along"]

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
    """

    operand: Labels | None
    results: tuple[Labels, ...]
    shares_memory: bool = False


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


def _size_arguments(node: fx.Node) -> tuple[Any, ...]:
    rest = node.args[1:] or tuple(node.kwargs.values())
    first = rest[0]
    return tuple(first) if isinstance(first, tuple | list) else rest


def _shape_sizes(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    sizes = _size_arguments(node)
    result = seen.results[0]
    offset = len(result.shape) - len(sizes)
    for place, size in enumerate(sizes):
        axis = place + offset
        labels = units_along(result, axis, units)
        if labels is not None and size != -1:
            yield Counted(
                node=node.name, place=f"size {place}", value=result.shape[axis], labels=labels
            )


def _unflattened_sizes(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    assert seen.operand is not None
    if node.op == "call_module":
        return  # closed where it is found
    axis, sizes = node.args[1], node.args[2]
    assert isinstance(axis, int)
    assert isinstance(sizes, tuple | list)
    begin = axis % len(seen.operand.shape)
    for place, size in enumerate(sizes):
        labels = units_along(seen.results[0], begin + place, units)
        if labels is not None and size != -1:
            yield Counted(node=node.name, place=f"part {place}", value=len(labels), labels=labels)


def _sections(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    axis = _axis_of_sections(node)
    assert seen.operand is not None
    axis %= len(seen.operand.shape)
    if units_along(seen.operand, axis, units) is None:
        return
    for place, result in enumerate(seen.results):
        labels = units_along(result, axis, units)
        size = result.shape[axis]
        if labels is None:
            labels = _rest(result, axis, units)
        yield Counted(node=node.name, place=f"section {place}", value=size, labels=labels)


def _rest(result: Labels, axis: int, units: Units) -> Tensor:
    """The one unit, or none, that a section of equal labels has."""
    for layer in result.layers:
        final = compact(units.roots(layer))
        if final.numel() == 1 and layer.shape[axis] > 1:
            return final.reshape(-1).expand(result.shape[axis])
    return torch.zeros(result.shape[axis], dtype=torch.long)


def _axis_of_sections(node: fx.Node) -> int:
    axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    assert isinstance(axis, int)
    return axis


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
                value = min(bound if bound >= 0 else bound + len(labels), len(labels))
                yield Counted(
                    node=node.name, place=f"{end} {number}", value=value, labels=labels[:value]
                )


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
    _, axis, start, length = node.args
    assert isinstance(axis, int)
    assert isinstance(start, int)
    assert isinstance(length, int)
    assert seen.operand is not None
    labels = units_along(seen.operand, axis % len(seen.operand.shape), units)
    if labels is not None:
        inside = labels[start : start + length]
        yield Counted(node=node.name, place="argument 2", value=start, labels=labels[:start])
        yield Counted(node=node.name, place="argument 3", value=length, labels=inside)


def _normalized_shape(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    shape = _size_arguments(node)
    result = seen.results[0]
    for place in range(len(shape)):
        labels = units_along(result, len(result.shape) - len(shape) + place, units)
        if labels is not None:
            yield Counted(node=node.name, place=f"size {place}", value=len(labels), labels=labels)


def _groups(node: fx.Node, seen: NodeLabels, units: Units) -> Iterator[Counted]:
    """A depthwise convolution, or a norm of each channel, loses whole groups."""
    name, place = _groups_argument(node)
    groups = node.args[place] if len(node.args) > place else node.kwargs.get(name, 1)
    assert seen.operand is not None
    labels = units_along(seen.operand, 1, units)
    if labels is not None and groups == len(labels):
        yield Counted(node=node.name, place="groups", value=len(labels), labels=labels)


def _groups_argument(node: fx.Node) -> tuple[str, int]:
    """Name and place of the number of groups in a call."""
    return ("num_groups", 1) if node.target is F.group_norm else ("groups", 6)


def set_sizes(graph: fx.Graph, removed: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Write numbers anew, in place.

    Args:
        graph: Traced as it was when the numbers were found.
        removed: For a node's name and place, the number that it was and by how much it shrinks.
    """
    by_node: dict[str, dict[str, int]] = defaultdict(dict)
    for (name, place), (value, less) in removed.items():
        by_node[name][place] = value - less
    for node in list(graph.nodes):
        if node.name in by_node:
            _set_node(node, by_node[node.name])


def _set_node(node: fx.Node, values: Mapping[str, int]) -> None:
    kinds = {place.partition(" ")[0] for place in values}
    if "section" in kinds:
        _set_sections(node, [values[f"section {i}"] for i in range(len(values))])
        return
    for place, value in values.items():
        kind, _, number = place.partition(" ")
        _SETTERS[kind](node, kind, int(number or 0), value)


def _set_sections(node: fx.Node, sizes: Sequence[int]) -> None:
    axis = _axis_of_sections(node)
    node.op, node.target = "call_function", torch.split
    node.args, node.kwargs = (node.args[0], list(sizes), axis), {}


def _replaced(values: Sequence[Any], place: int, value: object) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _set_size(node: fx.Node, kind: str, place: int, value: int) -> None:
    sizes = _replaced(_size_arguments(node), place, value)
    if not node.args[1:]:
        name = next(iter(node.kwargs))
        node.kwargs = {**node.kwargs, name: sizes}
    elif isinstance(node.args[1], tuple | list):
        node.args = (node.args[0], sizes, *node.args[2:])
    else:
        node.args = (node.args[0], *sizes)


def _set_part(node: fx.Node, kind: str, place: int, value: int) -> None:
    sizes = node.args[2]
    assert isinstance(sizes, tuple | list)
    node.args = (*node.args[:2], _replaced(sizes, place, value), *node.args[3:])


def _set_bound(node: fx.Node, kind: str, number: int, value: int) -> None:
    parts = list(node.args[1]) if isinstance(node.args[1], tuple) else [node.args[1]]
    part = parts[number]
    assert isinstance(part, slice)
    start, stop = (value, part.stop) if kind == "start" else (part.start, value)
    parts[number] = slice(start, stop, part.step)
    node.args = (node.args[0], tuple(parts))


def _set_argument(node: fx.Node, kind: str, place: int, value: int) -> None:
    node.args = _replaced(node.args, place, value)


def _set_groups(node: fx.Node, kind: str, number: int, value: int) -> None:
    name, place = _groups_argument(node)
    if len(node.args) > place:
        node.args = _replaced(node.args, place, value)
    else:
        node.kwargs = {**node.kwargs, name: value}


_SETTERS: Mapping[str, Callable[[fx.Node, str, int, int], None]] = {
    "size": _set_size,
    "part": _set_part,
    "start": _set_bound,
    "stop": _set_bound,
    "argument": _set_argument,
    "groups": _set_groups,
}
_FINDERS: Mapping[str, _Finder] = {
    **dict.fromkeys(("view", "reshape", "expand"), _shape_sizes),
    **dict.fromkeys(_SECTIONS, _sections),
    **dict.fromkeys({*_HOLD_GROUPS, "group_norm"}, _groups),
    "unflatten": _unflattened_sizes,
    operator.getitem.__name__: _slice_bounds,
    "narrow": _narrowed,
    F.layer_norm.__name__: _normalized_shape,
}
