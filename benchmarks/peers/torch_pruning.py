"""Torch-Pruning (Fang et al. 2023) asked to remove the channels that torchedge was asked to remove."""

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from torchedge.pruning import ChannelGroup

__all__ = ["removed_by_torch_pruning"]


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
