"""Channels in the order in which they can go: blocks of a group, least important first."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from torchedge.arguments import is_number, is_whole, require
from torchedge.errors import PruningError, UnknownNameError
from torchedge.kinds import fields_checked
from torchedge.pruning.channel_scores import GroupScores
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.pieces import Pieces

__all__ = [
    "Block",
    "Limits",
    "blocks_of",
    "named_groups",
    "prunable_groups",
    "require_choosing",
]


_WIDE, _WIDE_MULTIPLE, _NARROW_MULTIPLE = 24, 16, 8


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may go.

    Args:
        multiple: What is left of a layer's channels is a multiple of it, so that the hardware's
            vectors are full; a layer with fewer channels is left alone. ``None`` stands for what
            kernels like: 16 in layers of at least 24 channels, 8 in narrower ones.
        most: Largest share of a group's channels that may go.
        leave_out: Names of layers, whose groups stay whole.
        leave_out_types: The same for all layers of these types.
    """

    multiple: int | None = None
    most: float = 0.9
    leave_out: tuple[str, ...] = ()
    leave_out_types: tuple[type[nn.Module], ...] = ()

    def __post_init__(self) -> None:
        fields_checked(self, error=PruningError)
        whole = self.multiple is None or is_whole(self.multiple)
        require(
            whole, "multiple", self.multiple, "give a whole number, 8 for example", PruningError
        )
        require(is_number(self.most), "most", self.most, "give a share, 0.9", PruningError)
        way_out = "give the names of layers in a tuple, ('head',)"
        names = isinstance(self.leave_out, list | tuple)
        require(names, "leave_out", self.leave_out, way_out, PruningError)
        way_out = "give types of layers in a tuple, (nn.Linear,)"
        types = isinstance(self.leave_out_types, tuple)
        types = types and all(isinstance(kind, type) for kind in self.leave_out_types)
        require(types, "leave_out_types", self.leave_out_types, way_out, PruningError)
        if (self.multiple is not None and self.multiple < 1) or not 0 <= self.most < 1:
            raise PruningError(
                f"multiple={self.multiple}, most={self.most}; give at least 1, and a share in "
                "[0, 1)."
            )

    def multiple_of(self, channels: int) -> int:
        """The multiple for a layer of so many channels.

        Example:
            >>> Limits().multiple_of(48), Limits().multiple_of(16)
            (16, 8)
        """
        if self.multiple is not None:
            return self.multiple
        return _WIDE_MULTIPLE if channels >= _WIDE else _NARROW_MULTIPLE


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """Channels that go in one step.

    Args:
        group: Theirs.
        channels: Their numbers.
        score: Mean of their scores, in units of the group's mean.
    """

    group: ChannelGroup
    channels: tuple[int, ...]
    score: float


def prunable_groups(
    model: nn.Module, groups: Iterable[ChannelGroup], limits: Limits
) -> list[ChannelGroup]:
    """The groups from which something may go.

    Raises:
        UnknownNameError: A name in ``leave_out`` is no layer of the model.
    """
    layers = dict(model.named_modules())
    for name in limits.leave_out:
        if name not in layers:
            raise UnknownNameError(
                f"leave_out names '{name}', which is no layer; named_modules() lists them."
            )
    left_out = {
        name
        for name, layer in layers.items()
        if name in limits.leave_out
        or (limits.leave_out_types and isinstance(layer, limits.leave_out_types))
    }
    return [
        group
        for group in groups
        if group.prunable and not left_out & {name for name, _ in group.members}
    ]


def require_choosing(scores: object, limits: object) -> None:
    """Refuse what says neither which channels matter nor which may go.

    Raises:
        PruningError: The scores are no function, or the limits no :class:`Limits`.
    """
    if not callable(scores):
        raise PruningError(
            f"the scores are {scores!r}; give a function of torchedge.pruning.channel_scores, for "
            "example l2_norms."
        )
    if not isinstance(limits, Limits):
        raise PruningError(f"the limits are {limits!r}; give Limits(…), or leave them out.")


def named_groups(
    groups: Sequence[ChannelGroup], names: Iterable[str]
) -> Mapping[str, ChannelGroup]:
    """The groups of these names, which are those of the layers that make the channels.

    Raises:
        UnknownNameError: No group has the name.
        PruningError: A group cannot be pruned.
    """
    by_name = {name: g for g in groups for name, side in reversed(g.members) if side == "out"}
    by_name |= {group.name: group for group in groups}
    found = {}
    for name in names:
        if name not in by_name:
            raise UnknownNameError(
                f"there is no group '{name}'; channel_groups(model, example_inputs) lists them."
            )
        group = by_name[name]
        if group.reason is not None:
            raise PruningError(f"the group '{name}' cannot be pruned: {group.reason}.")
        found[name] = group
    return found


def blocks_of(
    model: nn.Module, group: ChannelGroup, scores: GroupScores, limits: Limits
) -> list[Block]:
    """The blocks of a group in the order in which they go.

    Raises:
        PruningError: The scores are not one finite number for each channel.
    """
    values = _required(scores(model, group), group)
    values = values / values.mean().clamp(min=torch.finfo(values.dtype).tiny)
    multiple = _multiple(group, limits)
    pieces, step = Pieces(group, multiple), _step(group, multiple)
    kinds = pieces.alike(group.channels)
    if min(map(len, kinds), default=0) < step:
        kinds = [list(range(group.channels))]
    order = [c for c in values.argsort(stable=True).tolist() if pieces.take(c)]
    blocks: list[Block] = []
    for kind in kinds:
        mine = set(kind)
        for channels in _cut([c for c in order if c in mine], len(kind), step):
            score = float(values[channels].mean())
            blocks.append(Block(group=group, channels=tuple(channels), score=score))
    least = max(step, math.ceil((1 - limits.most) * group.channels - 1e-9))
    return _leaving(least, sorted(blocks, key=lambda block: block.score), group)


def _cut(order: Sequence[int], count: int, step: int) -> list[list[int]]:
    """Runs of channels after each of which a multiple of ``step`` is left of ``count``."""
    ends = [count - left for left in range(count - 1, step - 1, -1) if left % step == 0]
    ends = [end for end in ends if end <= len(order)]
    return [list(order[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]


def _leaving(least: int, blocks: Sequence[Block], group: ChannelGroup) -> list[Block]:
    """The first blocks, as many as leave enough channels."""
    ends = itertools.accumulate(len(block.channels) for block in blocks)
    return [b for b, gone in zip(blocks, ends, strict=True) if group.channels - gone >= least]


def _required(values: object, group: ChannelGroup) -> Tensor:
    what, way_out = f"the scores of '{group.name}'", f"give a tensor of {group.channels} numbers"
    require(isinstance(values, Tensor), what, values, way_out, PruningError)
    assert isinstance(values, Tensor)
    if values.shape != (group.channels,) or not bool(torch.isfinite(values).all()):
        raise PruningError(
            f"the scores of '{group.name}' have shape {tuple(values.shape)} or hold NaN; "
            f"give {group.channels} finite numbers."
        )
    return values


def _multiple(group: ChannelGroup, limits: Limits) -> int:
    """That of the narrowest part of the group, in channels of the layer that makes them."""
    writer = next(part for part in group.slices if part.side == "out")
    each = sum(unit >= 0 for unit in writer.units) // group.channels
    parts = Pieces(group, 1).alike(group.channels) or [list(range(group.channels))]
    return limits.multiple_of(max(each, 1) * min(map(len, parts)))


def _step(group: ChannelGroup, multiple: int) -> int:
    """How many channels of the group make a multiple in each layer."""
    writers = [part for part in group.slices if part.side == "out"]
    each = Counter(unit for unit in writers[0].units if unit >= 0)
    return multiple // math.gcd(multiple, each.most_common(1)[0][1])
