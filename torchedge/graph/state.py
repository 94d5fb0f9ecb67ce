"""What modules keep from one run to the next, given back after a run that is not a real one."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from torch import nn

__all__ = ["keeping_state"]

_Held: TypeAlias = dict[object, object] | list[object]


@contextmanager
def keeping_state(model: nn.Module) -> Iterator[None]:
    """Afterwards every attribute is what it was, and so is every dict and list among them.

    A module that keeps a result, such as the bias of its attention, would keep the stand-in of a
    trace and use it in its next run. What is in a tensor is left alone.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> with keeping_state(net):
        ...     net.kept = "a stand-in"
        >>> hasattr(net, "kept")
        False
    """
    found: dict[int, _Held] = {}
    for module in model.modules():
        _note(vars(module), found)
    before = [(held, copy.copy(held)) for held in found.values()]
    try:
        yield
    finally:
        for held, contents in before:
            _restore(held, contents)


def _note(value: object, found: dict[int, _Held]) -> None:
    """Containers, and those in them."""
    if not isinstance(value, dict | list) or id(value) in found:
        return
    found[id(value)] = value
    for part in value.values() if isinstance(value, dict) else value:
        _note(part, found)


def _restore(held: _Held, contents: _Held) -> None:
    held.clear()
    if isinstance(held, dict):
        assert isinstance(contents, dict)
        held.update(contents)
    else:
        held.extend(contents)
