"""Units that layers make, put together into groups."""

from collections import defaultdict
from typing import final

from torch import Tensor

from torchedge.pruning.groups import ChannelGroup, SizeConstant, Slice
from torchedge.pruning.sizes import Counted
from torchedge.pruning.tracking import Axis, Tracker

__all__ = ["Grouping"]


@final
class Grouping:
    """Units that one layer makes become one group.

    Args:
        tracker: What the run showed.
        example_inputs: What the network ran on.
    """

    def __init__(self, tracker: Tracker, example_inputs: tuple[Tensor, ...]) -> None:
        self.tracker = tracker
        self.example_inputs = example_inputs
        self.roots = [(axis, tracker.units.roots(axis.labels).tolist()) for axis in tracker.axes]
        self.group_of: dict[int, int] = {}
        self.units_of: dict[int, dict[int, int]] = {}

    def groups(self, sizes: list[Counted]) -> tuple[ChannelGroup, ...]:
        """All groups, with the numbers that count their channels."""
        names = self._number()
        slices = self._slices()
        constants = self._constants(sizes)
        return tuple(
            self._group(number, names[number], slices[number], constants[number])
            for number in sorted(names)
        )

    def _number(self) -> dict[int, str]:
        """Number the groups in the order of their writers, and the units within each."""
        by_axis = {(axis.path, axis.axis): roots for axis, roots in self.roots}
        parents: dict[int, int] = {}

        def top(root: int) -> int:
            while parents.setdefault(root, root) != root:
                root = parents[root]
            return root

        for place in self.tracker.writers:
            ends: dict[bool, int] = {}
            for root in dict.fromkeys(by_axis[place]):
                kind = self.tracker.units.reason(root) is None
                first = ends.setdefault(kind, root)
                parents[top(root)] = top(first)
        names: dict[int, str] = {}
        numbers: dict[int, int] = {}
        for path, axis in self.tracker.writers:
            for root in dict.fromkeys(by_axis[path, axis]):
                number = numbers.setdefault(top(root), len(numbers))
                self.group_of[root] = number
                units = self.units_of.setdefault(number, {})
                units.setdefault(root, len(units))
                names.setdefault(number, _layer(path))
        return names

    def _slices(self) -> dict[int, list[Slice]]:
        found: dict[int, list[Slice]] = defaultdict(list)
        for axis, roots in self.roots:
            for number in dict.fromkeys(self.group_of.get(root, -1) for root in roots):
                if number >= 0:
                    found[number].append(self._slice(axis, roots, number))
        return found

    def _slice(self, axis: Axis, roots: list[int], number: int) -> Slice:
        units = self.units_of[number]
        reads = (axis.path, axis.axis) in self.tracker.inputs
        return Slice(
            path=axis.path,
            axis=axis.axis,
            side="in" if reads else "out",
            units=tuple(units.get(root, -1) for root in roots),
        )

    def _constants(self, sizes: list[Counted]) -> dict[int, list[SizeConstant]]:
        found: dict[int, list[SizeConstant]] = defaultdict(list)
        by_node: dict[str, list[tuple[Counted, list[int]]]] = defaultdict(list)
        for counted in sizes:
            roots = self.tracker.units.roots(counted.labels).tolist()
            by_node[counted.node].append((counted, roots))
        for entries in by_node.values():
            touched = {self.group_of.get(root, -1) for _, roots in entries for root in roots}
            for number in sorted(touched - {-1}):
                units = self.units_of[number]
                found[number] += [
                    SizeConstant(
                        node=counted.node,
                        place=counted.place,
                        value=counted.value,
                        units=tuple(units.get(root, -1) for root in roots),
                    )
                    for counted, roots in entries
                ]
        return found

    def _group(
        self, number: int, name: str, slices: list[Slice], constants: list[SizeConstant]
    ) -> ChannelGroup:
        root = next(iter(self.units_of[number]))
        channels = len(self.units_of[number])
        reason = self.tracker.units.reason(root)
        if reason is None and channels == 1:
            reason = "all of its channels stay or go together"
        members = dict.fromkeys((part.layer, part.side) for part in slices)
        return ChannelGroup(
            name=name,
            members=tuple(members),
            channels=channels,
            reason=reason,
            slices=tuple(slices),
            constants=tuple(constants),
            example_inputs=self.example_inputs,
        )


def _layer(path: str) -> str:
    return Slice(path=path, axis=0, side="out", units=()).layer
