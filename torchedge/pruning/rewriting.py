"""Numbers in a network's code: what they are in a run, and written anew."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.fx.node import Argument

from torchedge.pruning.arguments import (
    LENGTH,
    PARTS,
    START,
    argument,
    axis_of_sections,
    exchange_size_arguments,
    groups_argument,
    set_argument,
    set_size_arguments,
    size_arguments,
)

__all__ = ["Values", "freeze_numbers", "number_at", "set_numbers"]

Values: TypeAlias = Mapping[fx.Node, Any]
_AS = ("view_as", "reshape_as", "expand_as")


def number_at(node: fx.Node, place: str, values: Values) -> int | None:
    """What a number is in a run; ``None`` where it counts from the end, or is none by itself.

    Args:
        node: Of a traced graph.
        place: Of one of its arguments, as in :class:`~torchedge.pruning.groups.SizeConstant`.
        values: Of the nodes before it.
    """
    kind, _, number = place.partition(" ")
    if kind == "section":
        return None
    found = _GETTERS[kind](node, int(number or 0), values)
    found = values.get(found, found) if isinstance(found, fx.Node) else found
    return found if isinstance(found, int) and found >= 0 else None


def set_numbers(node: fx.Node, numbers: Mapping[str, int], values: Values) -> None:
    """Write numbers of a node anew, in place.

    Args:
        node: Of a traced graph.
        numbers: By their places.
        values: Of the nodes before it.
    """
    if any(place.startswith("section") for place in numbers):
        _set_sections(node, [numbers[f"section {i}"] for i in range(len(numbers))])
        return
    if any(place.startswith("size") for place in numbers):
        _take_apart(node, values)
    for place, value in numbers.items():
        kind, _, number = place.partition(" ")
        _SETTERS[kind](node, kind, int(number or 0), value)


def freeze_numbers(node: fx.Node, before: Values, values: Values) -> None:
    """Write down, in place, what numbers were that the code computes from sizes that changed.

    Args:
        node: Of a traced graph.
        before: Numbers and shapes that the nodes gave in the run that is right.
        values: In this run.
    """
    other = node.args[1] if node.target in _AS else None
    if isinstance(other, fx.Node):
        _freeze_shape(node, other, before[other], values[other].shape)
        return

    def frozen(part: fx.Node) -> Argument:
        old, new = before.get(part), values.get(part)
        if isinstance(old, int | float) and not isinstance(old, bool):
            return part if old == new else old
        if isinstance(old, torch.Size) and isinstance(new, torch.Size) and old != new:
            return _elements(node, part, old, new)
        return part

    node.args = fx.map_arg(node.args, frozen)
    node.kwargs = fx.map_arg(node.kwargs, frozen)


def _freeze_shape(node: fx.Node, other: fx.Node, old: torch.Size, new: torch.Size) -> None:
    """Of ``x.view_as(other)`` the sizes that changed."""
    if old != new:
        with node.graph.inserting_before(node):
            size = node.graph.call_method("size", (other,))
        node.target = str(node.target).removesuffix("_as")
        node.args = (node.args[0], _elements(node, size, old, new))


def _elements(
    node: fx.Node, size: fx.Node, old: Sequence[int], new: Sequence[int]
) -> tuple[Argument, ...]:
    """The elements of a shape that are as they were, and constants for the others."""
    graph = node.graph
    with graph.inserting_before(node):
        return tuple(
            graph.call_function(operator.getitem, (size, i)) if old[i] == new[i] else old[i]
            for i in range(len(old))
        )


def _take_apart(node: fx.Node, values: Values) -> None:
    """Give sizes one by one that were the whole shape of another tensor."""
    sizes = size_arguments(node)
    if len(sizes) != 1 or not isinstance(sizes[0], fx.Node):
        return
    whole, value = sizes[0], values.get(sizes[0])
    if not isinstance(value, Tensor | torch.Size):
        return
    graph = node.graph
    with graph.inserting_before(node):
        if isinstance(value, Tensor):
            whole, value = graph.call_method("size", (whole,)), value.shape
            node.target = str(node.target).removesuffix("_as")
        parts = [graph.call_function(operator.getitem, (whole, i)) for i in range(len(value))]
    exchange_size_arguments(node, tuple(parts))


def _size(node: fx.Node, place: int, values: Values) -> Any:  # noqa: ANN401
    sizes = size_arguments(node)
    whole = values.get(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], fx.Node) else None
    if isinstance(whole, Tensor):
        whole = whole.shape
    return whole[place] if isinstance(whole, torch.Size) else sizes[place]


def _part(node: fx.Node, place: int, values: Values) -> Any:  # noqa: ANN401
    sizes = argument(node, *PARTS)
    assert isinstance(sizes, tuple | list)
    return sizes[place]


def _bounds(node: fx.Node, number: int) -> slice:
    parts = node.args[1] if isinstance(node.args[1], tuple) else [node.args[1]]
    part = parts[number]
    assert isinstance(part, slice)
    return part


_GETTERS: Mapping[str, Callable[[fx.Node, int, Values], Any]] = {
    "size": _size,
    "part": _part,
    "start": lambda node, number, _: _bounds(node, number).start,
    "stop": lambda node, number, _: _bounds(node, number).stop,
    "first": lambda node, _, __: argument(node, *START),
    "length": lambda node, _, __: argument(node, *LENGTH),
    "groups": lambda node, _, __: argument(node, *groups_argument(node)),
}


def _set_sections(node: fx.Node, sizes: Sequence[int]) -> None:
    axis = axis_of_sections(node)
    node.op, node.target = "call_function", torch.split
    node.args, node.kwargs = (node.args[0], list(sizes), axis), {}


def _replaced(values: Sequence[Argument], place: int, value: Argument) -> tuple[Argument, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _set_size(node: fx.Node, kind: str, place: int, value: int) -> None:
    set_size_arguments(node, _replaced(size_arguments(node), place, value))


def _set_part(node: fx.Node, kind: str, place: int, value: int) -> None:
    sizes = argument(node, *PARTS)
    assert isinstance(sizes, tuple | list)
    set_argument(node, *PARTS, _replaced(sizes, place, value))


def _set_bound(node: fx.Node, kind: str, number: int, value: int) -> None:
    parts = list(node.args[1]) if isinstance(node.args[1], tuple) else [node.args[1]]
    part = parts[number]
    assert isinstance(part, slice)
    start, stop = (value, part.stop) if kind == "start" else (part.start, value)
    parts[number] = slice(start, stop, part.step)
    node.args = (node.args[0], tuple(parts))


def _set_narrowed(node: fx.Node, kind: str, number: int, value: int) -> None:
    set_argument(node, *(LENGTH if kind == "length" else START), value)


def _set_groups(node: fx.Node, kind: str, number: int, value: int) -> None:
    set_argument(node, *groups_argument(node), value)


_SETTERS: Mapping[str, Callable[[fx.Node, str, int, int], None]] = {
    "size": _set_size,
    "part": _set_part,
    "start": _set_bound,
    "stop": _set_bound,
    "first": _set_narrowed,
    "length": _set_narrowed,
    "groups": _set_groups,
}
