"""Arguments of calls in a traced graph, whether they were given by place or by name."""

from typing import TypeAlias

import torch.nn.functional as F
from torch import fx
from torch.fx.node import Argument

__all__ = [
    "AXIS",
    "LENGTH",
    "PARTS",
    "START",
    "Place",
    "argument",
    "axis_of_sections",
    "exchange_size_arguments",
    "groups_argument",
    "set_argument",
    "set_size_arguments",
    "size_arguments",
]

Place: TypeAlias = tuple[str, int]
AXIS: Place = ("dim", 1)
START: Place = ("start", 2)  # of narrow
LENGTH: Place = ("length", 3)
PARTS: Place = ("sizes", 2)  # of unflatten
_SIZES = ("size", "shape", "normalized_shape")


def argument(node: fx.Node, name: str, place: int, default: Argument = None) -> Argument:
    """An argument of a call."""
    return node.args[place] if place < len(node.args) else node.kwargs.get(name, default)


def set_argument(node: fx.Node, name: str, place: int, value: Argument) -> None:
    """Exchange an argument where it is."""
    if place < len(node.args):
        node.args = (*node.args[:place], value, *node.args[place + 1 :])
    else:
        node.kwargs = {**node.kwargs, name: value}


def axis_of_sections(node: fx.Node) -> int:
    """The axis that is split or chunked."""
    axis = argument(node, "dim", 2, default=0)
    assert isinstance(axis, int)
    return axis


def groups_argument(node: fx.Node) -> Place:
    """Name and place of the number of groups in a call."""
    return ("num_groups", 1) if node.target is F.group_norm else ("groups", 6)


def size_arguments(node: fx.Node) -> tuple[Argument, ...]:
    """Sizes of a view or a norm, which may be given one by one."""
    name = _name_of_sizes(node)
    first = node.kwargs[name] if name else node.args[1]
    return tuple(first) if isinstance(first, tuple | list) else node.args[1:]


def set_size_arguments(node: fx.Node, sizes: tuple[Argument, ...]) -> None:
    """Exchange the sizes of a view or a norm."""
    name = _name_of_sizes(node)
    if name or isinstance(node.args[1], tuple | list):
        set_argument(node, name, 1, sizes)
    else:
        node.args = (node.args[0], *sizes)


def exchange_size_arguments(node: fx.Node, sizes: tuple[Argument, ...]) -> None:
    """Exchange one argument that was a whole shape."""
    set_argument(node, _name_of_sizes(node) or "size", 1, sizes)


def _name_of_sizes(node: fx.Node) -> str:
    return next((name for name in _SIZES if name in node.kwargs), "")
