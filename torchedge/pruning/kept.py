"""What is left of every tensor of a network when channels go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, final

import torch
from torch import Tensor, fx

from torchedge.pruning.dependency import Dependencies
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.labels import Labels, axes_of, compact, line
from torchedge.pruning.tracking import tensors_in

__all__ = ["Left", "Places", "removed_places"]

Places: TypeAlias = Mapping[tuple[str, int, int], set[int]]  # path, axis, and how long it was
_TOLERANCE = 1e-3  # of the largest value: sums over fewer channels come in another order


def removed_places(keep: Mapping[ChannelGroup, Sequence[int]]) -> Places:
    """For each axis of a parameter the indices that go; where none go, nothing."""
    places: dict[tuple[str, int, int], set[int]] = {}
    for group, channels in keep.items():
        kept = {*channels, -1}
        for part in group.slices:
            gone = {place for place, unit in enumerate(part.units) if unit not in kept}
            places.setdefault((part.path, part.axis, len(part.units)), set()).update(gone)
    return places


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Left:
    """What is left of the result of each node.

    Args:
        found: From :func:`~torchedge.pruning.dependency.dependencies`.
        places: What goes, by parameter.
    """

    found: Dependencies
    places: Places

    @cached_property
    def removed(self) -> set[int]:
        """The units that go."""
        roots: set[int] = set()
        for axis in self.found.tracker.axes:
            gone = self.places.get((axis.path, axis.axis, len(axis.labels)), set())
            if gone:
                labels = axis.labels[torch.tensor(sorted(gone))]
                roots |= set(self.found.tracker.units.roots(labels).tolist())
        return roots

    @cached_property
    def exact(self) -> bool:
        """Whether what is left computes what it did beside channels that nobody reads."""
        units = self.found.tracker.units
        layers = self.found.tracker.mixed
        mixed = {root for layer in layers for root in units.roots(layer).unique().tolist()}
        return not mixed & self.removed

    @cached_property
    def _nodes(self) -> dict[str, tuple[Labels, ...]]:
        return {node.name: seen.results for node, seen in self.found.results.items()}

    def difference(self, node: fx.Node, before: object, now: object) -> str:
        """How a node's result differs from what should be left of it, or an empty text.

        Args:
            node: Of the graph with fewer channels, or of the original.
            before: Its result in the network whose channels are all there, but not read.
            now: Its result with fewer channels.
        """
        results, originals = list(tensors_in(now)), list(tensors_in(before))
        labels = self._nodes.get(node.name, ())
        rests = [self._rest(*pair) for pair in zip(labels, originals, strict=False)]
        if any(rest.numel() == 0 for rest in rests) and all(x.numel() for x in originals):
            return "would be left without any channel"
        if len(results) != len(originals):
            return f"gives {len(results)} tensors and not {len(originals)}"
        texts = (self._difference(*pair) for pair in zip(rests, results, strict=False))
        return next((text for text in texts if text), "")

    def _difference(self, expected: Tensor, new: Tensor) -> str:
        if expected.shape != new.shape:
            return f"has shape {tuple(new.shape)} and not {tuple(expected.shape)}"
        if not self.exact or not new.is_floating_point() or new.numel() == 0:
            return ""
        error = float((new - expected).abs().max())
        size = float(expected.abs().max())
        if error > _TOLERANCE * size + 1e-6:  # nothing is said of NaN, which the original has too
            return f"differs by {error:.2g}, where its largest value is {size:.2g}"
        return ""

    def _rest(self, labels: Labels, tensor: Tensor) -> Tensor:
        units = self.found.tracker.units
        if labels.shape != tuple(tensor.shape):
            return tensor
        for layer in labels.layers:
            axes = axes_of(compact(units.roots(layer))) or axes_of(layer)
            if len(axes) != 1:
                continue
            (axis,) = axes
            roots = units.roots(line(layer, axis)).reshape(-1).tolist()
            kept = [i for i, root in enumerate(roots) if root not in self.removed]
            if len(kept) < tensor.shape[axis]:
                index = torch.tensor(kept, dtype=torch.long, device=tensor.device)
                tensor = tensor.index_select(axis, index)
        return tensor

    def groups_at(self, node: fx.Node) -> tuple[str, ...]:
        """Names of groups that lose channels and whose channels a node takes."""
        units, groups = self.found.tracker.units, self._groups
        names: dict[str, None] = {}
        for source in (*node.all_input_nodes, node):
            for labels in self._nodes.get(source.name, ()):
                for layer in labels.layers:
                    roots = units.roots(layer).unique().tolist()
                    names |= {groups[root]: None for root in roots if root in groups}
        return tuple(names) or tuple(dict.fromkeys(groups.values()))

    @cached_property
    def _groups(self) -> dict[int, str]:
        """The name of the group of each unit that goes."""
        found: dict[int, str] = {}
        axes = {(axis.path, axis.axis): axis.labels for axis in self.found.tracker.axes}
        for group in self.found.groups:
            part = next((part for part in group.slices if part.side == "out"), None)
            if part is not None:
                roots = self.found.tracker.units.roots(axes[part.path, part.axis]).tolist()
                pairs = zip(roots, part.units, strict=True)
                found |= {r: group.name for r, u in pairs if u >= 0 and r in self.removed}
        return found
