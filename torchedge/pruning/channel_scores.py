"""How much each channel of a group matters, summed over every layer that the group touches."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from torchedge.errors import PruningError
from torchedge.pruning.functional import median_distances, taylor_scores
from torchedge.pruning.groups import ChannelGroup, Slice

__all__ = [
    "GroupScores",
    "batchnorm_scales",
    "first_order_taylor",
    "geometric_median",
    "group_norms",
    "l1_norms",
    "l2_norms",
    "random_channels",
]

GroupScores: TypeAlias = Callable[[nn.Module, ChannelGroup], Tensor]


def l1_norms(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Sum of the absolute weights of each channel (Li et al. 2017)."""
    return group_norms(model, group, 1.0)


def l2_norms(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Root of the sum of squared weights of each channel in its group (Fang et al. 2023)."""
    return group_norms(model, group, 2.0)


def group_norms(model: nn.Module, group: ChannelGroup, p: float) -> Tensor:
    """The p-norm of everything that goes with each channel: what makes it and what reads it.

    Example:
        >>> from torchedge.pruning import channel_groups
        >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
        >>> net[0].weight.data, net[1].weight.data = torch.tensor([[3.0], [0.0]]), torch.ones(1, 2)
        >>> group_norms(net, channel_groups(net, (torch.zeros(1, 1),))[0], 1.0)
        tensor([4., 1.])
    """
    total = torch.zeros(group.channels)
    for part, weight in _weights(model, group):
        total += _by_channel(group, part, weight.detach().abs().pow(p))
    return total.pow(1 / p)


def first_order_taylor(model: nn.Module, group: ChannelGroup) -> Tensor:
    """``Σ |w · ∂L/∂w|`` of each channel, from the gradients that a backward pass left.

    Raises:
        PruningError: A weight of the group has no gradient.
    """
    total = torch.zeros(group.channels)
    for part, weight in _weights(model, group):
        gradient = model.get_parameter(part.path).grad
        if gradient is None:
            raise PruningError(
                f"'{part.path}' has no gradient to score by; call backward() on a loss first."
            )
        total += _by_channel(group, part, taylor_scores(weight, gradient))
    return total


def batchnorm_scales(model: nn.Module, group: ChannelGroup) -> Tensor:
    """``|γ|`` of the batch norms of a group (Liu et al. 2017).

    Raises:
        PruningError: The group has no batch norm with weights.
    """
    total, found = torch.zeros(group.channels), False
    norms = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
    for part in group.slices:
        layer = _layer(model, part)
        if isinstance(layer, norms) and part.path.endswith(".weight"):
            total += _by_channel(group, part, layer.weight.detach().abs())
            found = True
    if not found:
        raise PruningError(
            f"the group '{group.name}' has no batch norm to score by; use l2_norms for it."
        )
    return total


def geometric_median(model: nn.Module, group: ChannelGroup) -> Tensor:
    """How far the filters that make a channel are from the others (FPGM, He et al. 2019)."""
    total = torch.zeros(group.channels)
    for part, weight in _weights(model, group):
        if part.side == "out":
            distances = median_distances(weight.movedim(part.axis, 0))
            total += _sum_by_unit(group, part, distances)
    return total


def random_channels(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Scores that say nothing; drawn from torch's generator."""
    return torch.rand(group.channels)


def _weights(model: nn.Module, group: ChannelGroup) -> Iterator[tuple[Slice, Tensor]]:
    parameters = dict(model.named_parameters())
    for part in group.slices:
        weight = parameters.get(part.path)
        if weight is not None and weight.ndim > 1:
            yield part, _computed_with(model, part, weight)


def _computed_with(model: nn.Module, part: Slice, parameter: Tensor) -> Tensor:
    """The weight as its layer reads it, so with its mask."""
    owner, _, inside = part.path.partition(".parametrizations.")
    name, _, rest = inside.partition(".")
    if rest != "original":
        return parameter
    weight: Tensor = getattr(model.get_submodule(owner), name)
    return weight.detach()


def _layer(model: nn.Module, part: Slice) -> nn.Module | None:
    try:
        return model.get_submodule(part.layer)
    except AttributeError:
        return None


def _by_channel(group: ChannelGroup, part: Slice, values: Tensor) -> Tensor:
    return _sum_by_unit(
        group, part, values.movedim(part.axis, 0).flatten(1).sum(1) if values.ndim > 1 else values
    )


def _sum_by_unit(group: ChannelGroup, part: Slice, values: Tensor) -> Tensor:
    units = torch.tensor(part.units)
    mine = units >= 0
    return torch.zeros(group.channels).index_add(0, units[mine], values.cpu().float()[mine])
