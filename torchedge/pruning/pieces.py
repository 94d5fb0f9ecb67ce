"""Parts of a group that must not vanish: what a layer reads of it, and what a split takes of it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import final

from torchedge.pruning.groups import ChannelGroup, SizeConstant

__all__ = ["Pieces"]


@final
class Pieces:
    """How many channels of each part of a group are left, and how many it needs.

    A part keeps at least one multiple, counted in its own channels; one that has no more than a
    multiple stays whole.

    Args:
        group: The channels.
        multiple: What is left of a layer's channels is a multiple of it.

    Example:
        >>> sections = (SizeConstant(node="split", place="section 0", value=2, units=(0, 1)),
        ...             SizeConstant(node="split", place="section 1", value=4, units=(2, 3, 4, 5)))
        >>> group = ChannelGroup(name="a", members=(), channels=6, constants=sections)
        >>> pieces = Pieces(group, multiple=2)
        >>> [pieces.take(channel) for channel in (0, 2, 3, 4)]
        [False, True, True, False]
    """

    def __init__(self, group: ChannelGroup, multiple: int) -> None:
        found = {tuple(sorted(counts.items())) for counts in _counts(group)}
        self._parts = [dict(part) for part in sorted(found)]
        self._left = [sum(part.values()) for part in self._parts]
        self._least = [min(multiple, left) for left in self._left]
        self._of: dict[int, list[int]] = defaultdict(list)
        for number, part in enumerate(self._parts):
            for channel in part:
                self._of[channel].append(number)

    def alike(self, channels: int) -> list[list[int]]:
        """The channels that may go, those together that are in the same parts; maybe none."""
        found: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for channel in range(channels):
            key = tuple((n, self._parts[n][channel]) for n in self._of.get(channel, ()))
            found.setdefault(key, []).append(channel)
        return [kind for kind in found.values() if self._may_go(kind[0])]

    def take(self, channel: int) -> bool:
        """Take a channel; ``False``, and nothing is taken, where a part would have too few."""
        if not self._may_go(channel):
            return False
        for number in self._of.get(channel, ()):
            self._left[number] -= self._parts[number][channel]
        return True

    def _may_go(self, channel: int) -> bool:
        return all(
            self._left[number] - self._parts[number][channel] >= self._least[number]
            for number in self._of.get(channel, ())
        )


def _counts(group: ChannelGroup) -> Iterator[Counter[int]]:
    """For each part that has only some of the group's channels, how often it has each."""
    for part in group.slices:
        yield from _strict(part.units, group)
    by_node: dict[str, list[SizeConstant]] = defaultdict(list)
    for constant in group.constants:
        by_node[constant.node].append(constant)
    for constants in by_node.values():
        for units in _taken(constants, group.channels):
            yield from _strict(units, group)


def _strict(units: Iterable[int], group: ChannelGroup) -> Iterator[Counter[int]]:
    counts = Counter(unit for unit in units if unit >= 0)
    if 0 < len(counts) < group.channels:
        yield counts


def _taken(constants: Sequence[SizeConstant], channels: int) -> Iterator[tuple[int, ...]]:
    """What the results of a split, a narrow or a slice hold."""
    ends: dict[str, tuple[int, ...]] = {}
    for constant in constants:
        kind = constant.place.partition(" ")[0]
        if kind in {"section", "length"}:
            yield constant.units
        elif kind in {"start", "stop"}:
            ends[kind] = constant.units
    if "stop" in ends:
        yield ends["stop"][len(ends.get("start", ())) :]
    elif "start" in ends:
        yield tuple(unit for unit in range(channels) if unit not in ends["start"])
