"""How much to remove: a ratio, or until the network costs no more than a share of what it did."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from torch import nn

from torchedge.arguments import require
from torchedge.batches.examples import Examples
from torchedge.errors import PruningError
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.pruning.channel_scores import GroupScores, l2_norms
from torchedge.pruning.checks import require_share, require_sparsity
from torchedge.pruning.cost import Costs
from torchedge.pruning.dependency import Dependencies, dependencies
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.latency import Latencies, LayerTimer, require_measured
from torchedge.pruning.ranking import (
    Block,
    Limits,
    blocks_of,
    named_groups,
    prunable_groups,
    require_choosing,
)
from torchedge.pruning.search import Cost, Search
from torchedge.pruning.transform import made_smaller, remove_channels

__all__ = ["Choice", "choose_channels", "choose_share", "prune_by", "prune_to"]

Choice: TypeAlias = Mapping[ChannelGroup, Sequence[int]]
_DEFAULT_LIMITS = Limits()


@kinds_checked("model", "example_inputs", "ratio", error=PruningError)
def prune_by(
    model: nn.Module,
    example_inputs: Examples,
    ratio: float | Mapping[str, float],
    *,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> nn.Module:
    """A new network without a share of the channels of each group.

    Args:
        model: A float network; it stays as it is.
        example_inputs: One valid set of inputs, or the tensor that is the only one.
        ratio: Share of the channels that goes, for all groups or by name of a layer.
        scores: What makes a channel worth keeping.
        limits: What may go; fewer channels go where the rest must be a multiple.

    Raises:
        PruningError: A ratio is outside [0, 1), or a group asked for by name cannot be pruned, or
            not by so much.
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
    example_inputs: Examples,
    ratio: float | Mapping[str, float],
    *,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> Choice:
    """The choice that :func:`prune_by` makes, for ``remove_channels``.

    Raises:
        PruningError: A ratio is outside [0, 1), or a group asked for by name cannot be pruned, or
            not by so much.
        UnknownNameError: There is no group of that name.
    """
    for share in ratio.values() if isinstance(ratio, Mapping) else (ratio,):
        require_sparsity(share)
    require_choosing(scores, limits)
    found = dependencies(model, example_inputs)
    groups, seen = found.groups, found.network
    if isinstance(ratio, Mapping):
        wanted = _by_group(groups, ratio)
    else:
        wanted = dict.fromkeys(prunable_groups(seen, groups, limits), ratio)
    queues = {group: blocks_of(seen, group, scores, limits) for group in wanted}
    for group in queues if isinstance(ratio, Mapping) else ():
        _require_reachable(group, wanted[group], queues[group], limits)
    return {group: _kept(queues[group], group, share) for group, share in wanted.items()}


def _by_group(
    groups: Sequence[ChannelGroup], ratio: Mapping[str, float]
) -> dict[ChannelGroup, float]:
    found: dict[ChannelGroup, float] = {}
    for name, group in named_groups(groups, ratio).items():
        if found.setdefault(group, ratio[name]) != ratio[name]:
            raise PruningError(
                f"'{name}' is in the group '{group.name}', which would lose {ratio[name]} and "
                f"{found[group]} of its channels; give one ratio for a group."
            )
    return found


def _require_reachable(
    group: ChannelGroup, share: float, blocks: Sequence[Block], limits: Limits
) -> None:
    """Refuse what was asked for by name and cannot go, but for the last block."""
    most, possible = share * group.channels, sum(len(block.channels) for block in blocks)
    largest = max((len(block.channels) for block in blocks), default=0)
    if most - possible >= max(largest, 1):
        multiple = limits.multiple_of(group.channels)
        raise PruningError(
            f"a ratio of {share} for '{group.name}' would take {most:.0f} of its {group.channels} "
            f"channels, and {possible} can go: multiples of {multiple} stay, at most "
            f"{limits.most} goes, and no layer may be emptied. Lower the ratio, or change limits."
        )


def _kept(blocks: Sequence[Block], group: ChannelGroup, share: float) -> list[int]:
    """What is left when blocks go, in their order, until the share would be exceeded."""
    most = int(share * group.channels + 1e-9)
    gone: set[int] = set()
    for block in blocks:
        if len(gone) + len(block.channels) > most:
            break
        gone |= set(block.channels)
    return [c for c in range(group.channels) if c not in gone]


@kinds_checked("model", "example_inputs", "timer", error=PruningError)
def prune_to(  # noqa: PLR0913 - one of four targets
    model: nn.Module,
    example_inputs: Examples,
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
        example_inputs: One valid set of inputs, or the tensor that is the only one.
        macs: Share of the multiply-accumulates that is left, in (0, 1].
        parameters: The same for parameters.
        memory: The same for the peak memory of activations.
        latency: The same for the sum of the layers' times; needs a timer.
        timer: Measures layers in the runtime that the network is for.
        scores: What makes a channel worth keeping.
        limits: What may go.

    Raises:
        PruningError: Not exactly one target is given, it is outside (0, 1], or it cannot be met
            within the limits; the text says how near it came. For a latency: a convolution is of
            a kind that no timer measures.
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
        raise PruningError(
            "a latency needs a timer; give timer=OnnxLayerTimer(), which is in "
            "torchedge_onnx.timing."
        )
    require_choosing(scores, limits)
    way_out = "give OnnxLayerTimer(), which is in torchedge_onnx.timing"
    require(timer is None or callable(timer), "the timer", timer, way_out, PruningError)
    found = dependencies(model, example_inputs)
    target = (name, share)
    keep = _chosen(found, target=target, timer=timer, scores=scores, limits=limits)
    return made_smaller(unwrapped(model), found, keep)


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
    example_inputs: Examples,
    *,
    target: tuple[str, float],
    timer: LayerTimer | None = None,
    scores: GroupScores = l2_norms,
    limits: Limits = _DEFAULT_LIMITS,
) -> Choice:
    """The choice that :func:`prune_to` makes, for ``remove_channels``.

    Raises:
        PruningError: The target cannot be met within the limits, or is a latency and a convolution
            is of a kind that no timer measures.
    """
    found = dependencies(model, example_inputs)
    return _chosen(found, target=target, timer=timer, scores=scores, limits=limits)


def _chosen(
    found: Dependencies,
    *,
    target: tuple[str, float],
    timer: LayerTimer | None,
    scores: GroupScores,
    limits: Limits,
) -> Choice:
    seen = found.network
    if target[0] == "latency":
        require_measured(found)
    costs = Costs(found, seen)
    queues = [
        blocks
        for group in prunable_groups(seen, found.groups, limits)
        if (blocks := blocks_of(seen, group, scores, limits))
    ]
    latencies = None
    if timer is not None:
        latencies = Latencies(found, costs, timer, limits)
    cost = _cost(target[0], costs, latencies)
    search = Search(costs=costs, queues=queues, cost=cost, name=target[0], share=target[1])
    kept = search.ranked() if latencies is None else search.by_time_saved(latencies)
    return {
        group: np.flatnonzero(kept[costs.units(group)]).tolist()
        for group in dict.fromkeys(blocks[0].group for blocks in queues)
    }


def _cost(name: str, costs: Costs, latencies: Latencies | None) -> Cost:
    if name == "latency":
        assert latencies is not None
        return latencies.milliseconds
    return {
        "macs": costs.macs,
        "parameters": costs.parameters,
        "memory": costs.peak_memory_bytes,
    }[name]
