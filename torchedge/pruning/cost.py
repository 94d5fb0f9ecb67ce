"""What a network costs when channels are left out, without building it."""

from collections.abc import Callable, Mapping
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt
from torch import Tensor, fx, nn

from torchedge.pruning.dependency import Dependencies
from torchedge.pruning.groups import ChannelGroup

__all__ = ["Costs", "Kept"]

Kept: TypeAlias = npt.NDArray[np.bool_]
_Places: TypeAlias = npt.NDArray[np.int64]
_FLOAT_BYTES = 4


@final
class Costs:
    """Multiply-accumulates, parameters and peak memory for any choice of channels.

    Every channel of every group has a number; a choice is an array that says which stay. The last
    entry stands for all that cannot be removed.

    Args:
        found: From :func:`~torchedge.pruning.dependency.dependencies`.
        model: The network; its parameters are counted.
    """

    def __init__(self, found: Dependencies, model: nn.Module) -> None:
        self.groups = found.groups
        ends = np.cumsum([0, *(group.channels for group in found.groups)])
        self._offsets: Mapping[ChannelGroup, int] = dict(
            zip(found.groups, map(int, ends), strict=False)
        )
        self.everything: Kept = np.ones(int(ends[-1]) + 1, dtype=bool)
        self._numbers = _numbers_of_labels(found, self._offsets, len(self.everything) - 1)
        self._axes, self._units = found.tracker.axes, found.tracker.units
        self._works = [
            (work.macs, [self.places(f) for f in work.factors]) for work in found.tracker.works
        ]
        self._sizes = self._parameter_sizes(model)
        self._lives = _lives(found, self.places)

    @property
    def ungrouped(self) -> dict[str, str]:
        """Weights that are in no group, such as computed ones, and why nothing of them goes."""
        grouped = {part.path for group in self.groups for part in group.slices}
        found: dict[str, str] = {}
        for axis in self._axes:
            reason = self._units.reason(int(axis.labels[0])) if len(axis.labels) > 1 else None
            if axis.axis and axis.path not in grouped and reason is not None:
                found.setdefault(axis.path, reason)
        return found

    def units(self, group: ChannelGroup) -> slice:
        """Where a group's channels are in a choice."""
        begin = self._offsets[group]
        return slice(begin, begin + group.channels)

    def macs(self, kept: Kept) -> float:
        """Multiply-accumulates of convolutions, matrix products and attention."""
        return float(sum(macs * _share(kept, places) for macs, places in self._works))

    def parameters(self, kept: Kept) -> float:
        """Numbers in parameters."""
        return float(sum(size * _share(kept, places) for size, places in self._sizes))

    def peak_memory_bytes(self, kept: Kept) -> float:
        """Largest sum of float32 activations that are alive at once, in the order of the code."""
        sizes = [size * _share(kept, places) for size, places, _, _ in self._lives]
        changes = np.zeros(max(last for *_, last in self._lives) + 2)
        for size, (_, _, first, last) in zip(sizes, self._lives, strict=True):
            changes[first] += size
            changes[last + 1] -= size
        return float(changes.cumsum().max()) * _FLOAT_BYTES

    def places(self, labels: Tensor) -> _Places:
        """For each label the number of its channel."""
        roots = self._units.roots(labels.reshape(-1)).tolist()
        last = len(self.everything) - 1
        return np.array([self._numbers.get(root, last) for root in roots], dtype=np.int64)

    def _parameter_sizes(self, model: nn.Module) -> list[tuple[int, list[_Places]]]:
        axes: dict[str, list[_Places]] = {}
        last = len(self.everything) - 1
        for group in self.groups:
            begin = self._offsets[group]
            for part in group.slices:
                numbers = np.array([begin + u if u >= 0 else last for u in part.units])
                found = axes.setdefault(f"{part.path} {part.axis}", [np.full(len(numbers), last)])
                found[0] = np.minimum(found[0], numbers)
        by_path: dict[str, list[_Places]] = {}
        for key, (places,) in axes.items():
            by_path.setdefault(key.partition(" ")[0], []).append(places)
        return [(p.numel(), by_path.get(name, [])) for name, p in model.named_parameters()]


def _share(kept: Kept, factors: list[_Places]) -> float:
    share = 1.0
    for places in factors:
        share *= np.count_nonzero(kept[places]) / max(len(places), 1)
    return share


def _numbers_of_labels(
    found: Dependencies, offsets: Mapping[ChannelGroup, int], last: int
) -> dict[int, int]:
    numbers: dict[int, int] = {}
    axes = {(axis.path, axis.axis): axis.labels for axis in found.tracker.axes}
    for group in found.groups:
        for part in group.slices:
            roots = found.tracker.units.roots(axes[part.path, part.axis]).tolist()
            pairs = zip(roots, part.units, strict=True)
            numbers |= {root: offsets[group] + unit for root, unit in pairs if unit >= 0}
    return numbers


def _lives(
    found: Dependencies, places_of: Callable[[Tensor], _Places]
) -> list[tuple[int, list[_Places], int, int]]:
    """For each tensor its size, the channels in it, and from where to where it is alive."""
    order = {node: index for index, node in enumerate(found.results)}
    holders: dict[fx.Node, fx.Node] = {}
    lives: dict[fx.Node, list[int]] = {}
    for node, seen in found.results.items():
        source = next(iter(node.all_input_nodes), None)
        holder = holders.get(source, node) if source is not None and seen.shares_memory else node
        holders[node] = holder
        for used in (node, *node.all_input_nodes):
            if used in holders:
                lives.setdefault(holders[used], [order[used], order[used]])[1] = order[node]
    return [
        (
            int(np.prod(result.shape)),
            [places_of(layer) for layer in result.layers],
            lives[node][0],
            lives[node][1],
        )
        for node, seen in found.results.items()
        if holders[node] is node and node.op != "get_attr"
        for result in seen.results
    ]
