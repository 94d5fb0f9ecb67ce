"""How much to remove: a ratio, or until the network costs no more than a share of what it did."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from torch import Tensor, nn

from torchedge.errors import PruningError
from torchedge.pruning.channel_scores import GroupScores, l2_norms
from torchedge.pruning.checks import require_share, require_sparsity
from torchedge.pruning.cost import Costs, Kept
from torchedge.pruning.dependency import channel_groups, dependencies, opened
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.latency import Latencies, LayerTimer
from torchedge.pruning.ranking import Block, Limits, blocks_of, named_groups, prunable_groups
from torchedge.pruning.transform import remove_channels

__all__ = ["Choice", "choose_channels", "choose_share", "prune_by", "prune_to"]

Choice: TypeAlias = Mapping[ChannelGroup, Sequence[int]]
_Cost: TypeAlias = Callable[[Kept], float]
_DEFAULT_LIMITS = Limits()


def prune_by(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    ratio: float | Mapping[str, float],
    *,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> nn.Module:
    """A new network without a share of the channels of each group.

    Args:
        model: A float network; it stays as it is.
        example_inputs: One valid set of inputs.
        ratio: Share of the channels that goes, for all groups or by name of a layer.
        scores: What makes a channel worth keeping.
        limits: What may go; fewer channels go where the rest must be a multiple.

    Raises:
        PruningError: A ratio is outside [0, 1), or a group asked for by name cannot be pruned.
        UnknownNameError: There is no group of that name.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
        >>> prune_by(net, (torch.zeros(1, 1, 8, 8),), 0.5)[0].out_channels
        8
    """
    keep = choose_share(model, example_inputs, ratio, scores=scores, limits=limits)
    return remove_channels(model, keep)


def choose_share(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    ratio: float | Mapping[str, float],
    *,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> Choice:
    """The choice that :func:`prune_by` makes, for ``remove_channels``.

    Raises:
        PruningError: A ratio is outside [0, 1), or a group asked for by name cannot be pruned.
        UnknownNameError: There is no group of that name.
    """
    for share in ratio.values() if isinstance(ratio, Mapping) else (ratio,):
        require_sparsity(share)
    groups = channel_groups(model, example_inputs)
    seen = opened(model)
    if isinstance(ratio, Mapping):
        named = named_groups(groups, ratio)
        wanted = {named[name]: share for name, share in ratio.items()}
    else:
        wanted = dict.fromkeys(prunable_groups(seen, groups, limits), ratio)
    return {
        group: _kept(blocks_of(seen, group, scores, limits), group, share)
        for group, share in wanted.items()
    }


def _kept(blocks: Sequence[Block], group: ChannelGroup, share: float) -> list[int]:
    """What is left when blocks go, in their order, until the share would be exceeded."""
    most = int(share * group.channels + 1e-9)
    gone: set[int] = set()
    for block in blocks:
        if len(gone) + len(block.channels) > most:
            break
        gone |= set(block.channels)
    return [c for c in range(group.channels) if c not in gone]


def prune_to(  # noqa: PLR0913 - one of four targets
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    macs: float | None = None,
    parameters: float | None = None,
    memory: float | None = None,
    latency: float | None = None,
    timer: LayerTimer | None = None,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> nn.Module:
    """A new network that costs at most a share of what ``model`` costs.

    The channels of all groups are ranked together, by their scores in units of their group's mean.
    With a timer, those go first that save the most time for what they matter.

    Args:
        model: A float network; it stays as it is.
        example_inputs: One valid set of inputs.
        macs: Share of the multiply-accumulates that is left, in (0, 1].
        parameters: The same for parameters.
        memory: The same for the peak memory of activations.
        latency: The same for the sum of the layers' times; needs a timer.
        timer: Measures layers in the runtime that the network is for.
        scores: What makes a channel worth keeping.
        limits: What may go.

    Raises:
        PruningError: Not exactly one target is given, it is outside (0, 1], or it cannot be met
            within the limits; the text says how near it came.
        TraceError: torch.fx cannot follow the model.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(8, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3))
        >>> prune_to(net, (torch.zeros(1, 8, 9, 9),), macs=0.5)[0].out_channels
        32
    """
    targets = {"macs": macs, "parameters": parameters, "memory": memory, "latency": latency}
    name, share = _only_target({k: v for k, v in targets.items() if v is not None})
    if name == "latency" and timer is None:
        raise PruningError("latency needs a timer, such as torchedge_onnx.timing.OnnxLayerTimer().")
    keep = choose_channels(
        model, example_inputs, target=(name, share), timer=timer, scores=scores, limits=limits
    )
    return remove_channels(model, keep)


def _only_target(given: Mapping[str, float]) -> tuple[str, float]:
    if len(given) != 1:
        raise PruningError(
            f"{len(given)} targets are given; give one of macs, parameters, memory and latency."
        )
    ((name, share),) = given.items()
    require_share(share, name)
    return name, share


def choose_channels(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    target: tuple[str, float],
    timer: LayerTimer | None = None,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> Choice:
    """The choice that :func:`prune_to` makes, for ``remove_channels``.

    Raises:
        PruningError: The target cannot be met within the limits.
    """
    seen = opened(model)
    found = dependencies(seen, example_inputs)
    costs = Costs(found, seen)
    queues = [
        blocks
        for group in prunable_groups(seen, found.groups, limits)
        if (blocks := blocks_of(seen, group, scores, limits))
    ]
    latencies = None
    if timer is not None:
        latencies = Latencies(found, costs, seen, timer, limits.multiple)
    cost = _cost(target[0], costs, latencies)
    search = _Search(costs=costs, queues=queues, cost=cost, name=target[0], share=target[1])
    kept = search.ranked() if latencies is None else search.by_time_saved(latencies)
    return {
        group: np.flatnonzero(kept[costs.units(group)]).tolist()
        for group in dict.fromkeys(blocks[0].group for blocks in queues)
    }


def _cost(name: str, costs: Costs, latencies: Latencies | None) -> _Cost:
    if name == "latency":
        assert latencies is not None
        return latencies.milliseconds
    return {
        "macs": costs.macs,
        "parameters": costs.parameters,
        "memory": costs.peak_memory_bytes,
    }[name]


@final
@dataclass(frozen=True, kw_only=True)
class _Search:
    """Takes blocks until the cost is low enough."""

    costs: Costs
    queues: list[list[Block]]
    cost: _Cost
    name: str
    share: float

    @property
    def limit(self) -> float:
        return self.share * self.cost(self.costs.everything) * (1 + 1e-9)

    def ranked(self) -> Kept:
        """Take blocks in the order of their scores."""
        order = sorted((b for queue in self.queues for b in queue), key=lambda b: b.score)
        self._require_possible(order)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.cost(self._without(order[:middle])) <= self.limit:
                high = middle
            else:
                low = middle + 1
        taken = order[: max(low - 1, 0)]
        return self._last(taken) if low else self.costs.everything

    def _last(self, taken: Sequence[Block]) -> Kept:
        """Of all blocks that come next, take the one that just meets the target, and fill up."""
        gone = set(map(id, taken))
        rest = [[b for b in queue if id(b) not in gone] for queue in self.queues]
        ends = [(self.cost(self._without([*taken, q[0]])), q[0]) for q in rest if q]
        met = [(cost, block) for cost, block in ends if cost <= self.limit]
        _, last = max(met, key=lambda pair: pair[0])
        return self._without(self._filled([*taken, last]))

    def _filled(self, taken: Sequence[Block]) -> list[Block]:
        """Give back what there is room for, the most important first."""
        left = [[b for b in queue if any(b is t for t in taken)] for queue in self.queues]
        waiting = [queue for queue in left if queue]
        while waiting:
            queue = max(waiting, key=lambda q: q[-1].score)
            without = [b for q in left for b in q if b is not queue[-1]]
            if self.cost(self._without(without)) <= self.limit:
                queue.pop()
            else:
                waiting = [q for q in waiting if q is not queue]
            waiting = [q for q in waiting if q]
        return [b for queue in left for b in queue]

    def by_time_saved(self, latencies: Latencies) -> Kept:
        """Take, again and again, the block that saves the most time for what it matters."""
        self._require_possible([b for queue in self.queues for b in queue])
        kept, places = self.costs.everything.copy(), [0] * len(self.queues)
        taken: list[Block] = []
        while self.cost(kept) > self.limit:
            open_queues = [i for i, queue in enumerate(self.queues) if places[i] < len(queue)]
            best = max(open_queues, key=lambda i: self._worth(kept, i, places[i], latencies))
            taken.append(self.queues[best][places[best]])
            places[best] += 1
            kept = self._without(taken)
        return self._without(self._filled(taken))

    def _worth(self, kept: Kept, queue: int, place: int, latencies: Latencies) -> float:
        block = self.queues[queue][place]
        saved = latencies.saved(kept, block, self.costs)
        return saved / max(block.score * len(block.channels) / block.group.channels, 1e-12)

    def _without(self, blocks: Sequence[Block]) -> Kept:
        kept = self.costs.everything.copy()
        for block in blocks:
            begin = self.costs.units(block.group).start
            kept[[begin + channel for channel in block.channels]] = False
        return kept

    def _require_possible(self, blocks: Sequence[Block]) -> None:
        least = self.cost(self._without(blocks))
        if least > self.limit:
            whole = self.cost(self.costs.everything)
            raise PruningError(
                f"{self.name}={self.share} cannot be met: with everything gone that may go, "
                f"{least / whole:.3f} of the original is left. Raise limits.most, lower "
                "limits.multiple, or leave fewer layers out."
            )
