"""Numbers in a network's code that count channels, written anew."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import fx
from torch.fx.node import Argument

from torchedge.pruning.arguments import (
    LENGTH,
    PARTS,
    START,
    argument,
    axis_of_sections,
    groups_argument,
    set_argument,
    set_size_arguments,
    size_arguments,
)

__all__ = ["set_sizes"]


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
