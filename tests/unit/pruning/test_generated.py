"""What holds for networks put together at random."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.pruning.generated_networks import choices, networks
from torchedge.errors import PruningError
from torchedge.pruning import channel_groups, prune_by, remove_channels

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # sums in another order
_SLOW = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@torch.no_grad()
def with_dead(model, keep):
    """The network, in which nothing makes and nothing reads the channels that go."""
    dead = copy.deepcopy(model)
    tensors = {**dict(dead.named_parameters()), **dict(dead.named_buffers())}
    for group, channels in keep.items():
        for part in group.slices:
            gone = [i for i, unit in enumerate(part.units) if unit not in {*channels, -1}]
            if not part.path.endswith("running_var"):
                tensors[part.path].index_fill_(part.axis, torch.tensor(gone, dtype=torch.long), 0)
    return dead


def empties(keep):
    """Whether a layer or a part of a split that has only some channels would lose all of them."""
    return any(
        set(part.units) - {-1} and not set(part.units) & set(channels)
        for group, channels in keep.items()
        for part in (*group.slices, *group.constants)
    )


@_SLOW
@given(networks(), st.data())
def test_dead_channels_removed_change_nothing(made, data):
    model, x = made
    keep = data.draw(choices(channel_groups(model, (x,))))
    dead = with_dead(model, keep)
    if empties(keep):
        with pytest.raises(PruningError, match=r"would be removed|would be left without"):
            remove_channels(dead, keep)
        return
    pruned = remove_channels(dead, keep)
    torch.testing.assert_close(pruned(x), dead(x), **TOLERANCE)
    batch = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(pruned(batch), dead(batch), **TOLERANCE)


@_SLOW
@given(networks(), st.floats(0.1, 0.8))
def test_a_network_pruned_by_a_ratio_runs_and_learns(made, ratio):
    model, x = made
    pruned = prune_by(model, (x,), ratio)
    pruned(x).sum().backward()
    assert all(p.grad is not None for p in pruned.parameters())


@_SLOW
@given(networks())
def test_a_network_pruned_by_nothing_is_the_network(made):
    model, x = made
    groups = channel_groups(model, (x,))
    pruned = remove_channels(model, {g: range(g.channels) for g in groups if g.prunable})
    batch = torch.cat([x, torch.randn(1, 3, 4, 4)])
    torch.testing.assert_close(pruned(batch), model(batch), rtol=0, atol=0)
    torch.testing.assert_close(pruned.train()(batch), model.train()(batch), rtol=0, atol=0)
