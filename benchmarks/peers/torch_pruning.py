"""Torch-Pruning (Fang et al. 2023) on the same networks: the same channels, or the same cost."""

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from torchedge.pruning import ChannelGroup

__all__ = ["pruned_by_torch_pruning", "removed_by_torch_pruning"]

_TRIES = 8


def removed_by_torch_pruning(
    model: nn.Module, example_inputs: tuple[Tensor, ...], keep: Mapping[ChannelGroup, Sequence[int]]
) -> nn.Module:
    """A copy from which Torch-Pruning removes what is not kept, group after group.

    It is told the layer that makes the channels and their numbers, and finds by itself what goes
    with them.

    Args:
        model: The network; it stays as it is.
        example_inputs: One valid set of inputs.
        keep: As for ``remove_channels``.
    """
    import torch_pruning

    pruned = copy.deepcopy(model)
    graph = torch_pruning.DependencyGraph().build_dependency(pruned, example_inputs=example_inputs)
    for group, channels in keep.items():
        maker = next(part for part in group.slices if part.side == "out")
        places = [i for i, unit in enumerate(maker.units) if unit not in {*channels, -1}]
        layer = pruned.get_submodule(maker.layer)
        remove = graph.get_pruner_of_module(layer).prune_out_channels
        if places:
            graph.get_pruning_group(layer, remove, idxs=places).prune()
    return pruned


def pruned_by_torch_pruning(
    model: nn.Module,
    image: Tensor,
    share: float,
    *,
    round_to: int | None,
    cost: Callable[[nn.Module, Tensor], float],
) -> nn.Module:
    """A copy that costs a share, by its group magnitudes and one ratio for all layers.

    Of the ratios that bisection tries, the one whose cost is nearest.

    Args:
        model: The layer that it names last keeps its outputs.
        image: An example input.
        share: Of the cost that is to be left.
        round_to: What the numbers of channels are multiples of.
        cost: Of a network.
    """
    import torch_pruning

    whole = cost(model, image)
    last = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    low, high, found = 0.0, 0.9, []
    for _ in range(_TRIES):
        ratio = (low + high) / 2
        pruned, ignored = copy.deepcopy((model, last))
        torch_pruning.pruner.BasePruner(
            pruned,
            image,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[ignored],
            round_to=round_to,
        ).step()
        left = cost(pruned, image) / whole
        found.append((abs(left - share), pruned))
        low, high = (ratio, high) if left > share else (low, ratio)
    return min(found, key=lambda pair: pair[0])[1]
