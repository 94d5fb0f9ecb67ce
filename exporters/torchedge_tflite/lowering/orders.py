"""In which order a file stores the axes of a tensor, as pure functions of shapes.

An order lists PyTorch's axes as the file has them; -1 is an axis of size 1 that only the file has.
A picture with channels last is ``(0, 2, 3, 1)``, a row of a picture's height ``(0, -1, 2, 1)``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias, final

__all__ = [
    "Move",
    "Order",
    "channels_last",
    "in_order",
    "move_between",
    "place_of",
    "plain",
    "reshaped",
]

Order: TypeAlias = tuple[int, ...]


def plain(rank: int) -> Order:
    """The axes as PyTorch has them.

    Example:
        >>> plain(3)
        (0, 1, 2)
    """
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Batch first, channels last; unchanged where there are no places.

    Example:
        >>> channels_last(4), channels_last(2)
        ((0, 2, 3, 1), (0, 1))
    """
    return (0, *range(2, rank), 1) if rank > 2 else plain(rank)


def in_order(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """A shape as the file has it.

    Example:
        >>> in_order((1, 8, 50), (0, -1, 2, 1))
        (1, 1, 50, 8)
    """
    return tuple(1 if axis < 0 else shape[axis] for axis in order)


def place_of(axis: int, order: Order) -> int:
    """Where the file has one of PyTorch's axes.

    Example:
        >>> place_of(1, (0, 2, 3, 1))
        3
    """
    return order.index(axis % sum(entry >= 0 for entry in order))


def _long(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    return tuple(axis for axis in order if axis >= 0 and shape[axis] != 1)


@final
@dataclass(frozen=True, kw_only=True)
class Move:
    """How stored numbers are brought from one order to another: reshape, transpose, reshape.

    Args:
        merged: The shape to transpose; axes that stay together are one.
        permutation: Of ``merged``; empty where no number changes its place.
        shape: In the end.
    """

    merged: tuple[int, ...]
    permutation: tuple[int, ...]
    shape: tuple[int, ...]


def move_between(shape: Sequence[int], found: Order, wanted: Order) -> Move:
    """The cheapest way from one order to another.

    Example:
        >>> move_between((1, 3, 4, 5), (0, 2, 3, 1), (0, 1, 2, 3))
        Move(merged=(20, 3), permutation=(1, 0), shape=(1, 3, 4, 5))
        >>> move_between((1, 3, 1, 1), (0, 2, 3, 1), (0, 1, 2, 3)).permutation
        ()
    """
    before, after = _long(shape, found), _long(shape, wanted)
    runs = list(_runs_together(before, after))
    sizes = tuple(prod(shape[axis] for axis in run) for run in runs)
    permutation = tuple(sorted(range(len(runs)), key=lambda i: after.index(runs[i][0])))
    moved = permutation != tuple(range(len(runs)))
    return Move(
        merged=sizes if moved else (),
        permutation=permutation if moved else (),
        shape=in_order(shape, wanted),
    )


def _runs_together(before: Order, after: Order) -> Iterator[list[int]]:
    run: list[int] = []
    for axis in before:
        if run and after.index(axis) == after.index(run[-1]) + 1:
            run.append(axis)
            continue
        if run:
            yield run
        run = [axis]
    if run:
        yield run


def reshaped(shape: Sequence[int], order: Order, new: Sequence[int]) -> Order | None:
    """The order of a reshaped tensor whose numbers stay where they are; ``None``: they cannot.

    Example:
        >>> reshaped((1, 8, 4, 5), (0, 2, 3, 1), (1, 8, 20))
        (0, 2, 1)
        >>> reshaped((1, 8, 4, 5), (0, 2, 3, 1), (1, 160)) is None
        True
    """
    groups = list(_groups(shape, new))
    stored = list(_long(shape, order))
    result: list[int] = []
    while stored:
        group = next(g for g in groups if stored[0] in g[0])
        if tuple(stored[: len(group[0])]) != group[0]:
            return None
        stored = stored[len(group[0]) :]
        result += group[1]
    return _with_short_axes(tuple(result), new)


def _groups(
    shape: Sequence[int], new: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The smallest sets of axes before and after that hold the same numbers."""
    before = [a for a, size in enumerate(shape) if size != 1]
    after = [a for a, size in enumerate(new) if size != 1]
    while before or after:
        left, right = [before.pop(0)], [after.pop(0)]
        while (here := prod(shape[a] for a in left)) != (there := prod(new[a] for a in right)):
            (left if here < there else right).append((before if here < there else after).pop(0))
        yield tuple(left), tuple(right)


def _with_short_axes(long: tuple[int, ...], shape: Sequence[int]) -> Order:
    """An order with axes of size 1 at places where they are used to be."""
    for usual in (channels_last(len(shape)), plain(len(shape))):
        if _long(shape, usual) == long:
            return usual
    short = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return (*short, *long)
