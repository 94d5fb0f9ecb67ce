"""Torch-Pruning as the second implementation: it removes the very same weights."""

import pytest
import torch

from benchmarks.peers.torch_pruning import removed_by_torch_pruning
from benchmarks.pruned.networks import network, pictures
from tests.unit.pruning.networks import NETWORKS, half_of, made
from torchedge.pruning import channel_groups, remove_channels
from torchedge.pruning.prune import choose_share

pytest.importorskip("torch_pruning")

# Torch-Pruning 1.6.1 breaks these: its network does not run, or reads other channels. Attention is
# opened into linear layers here, and a module of its own there.
_BEYOND = {
    "attention",
    "channel_shuffle",
    "chunked",
    "depthwise_with_multiplier",
    "pixel_shuffle",
    "pixel_unshuffle",
    "split",
    "transposed_grouped",
}


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - _BEYOND))
def test_each_group_has_the_members_that_torch_pruning_finds(name):
    model, x = made(name)
    for group, channels in half_of(channel_groups(model, (x,))).items():
        require_equal(model, x, {group: channels})


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - _BEYOND))
def test_all_groups_together_leave_the_weights_that_torch_pruning_leaves(name):
    model, x = made(name)
    require_equal(model, x, half_of(channel_groups(model, (x,))))


def require_equal(model, x, keep):
    ours = remove_channels(model, keep).state_dict()
    theirs = removed_by_torch_pruning(model, (x,), keep).state_dict()
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "unet"])
def test_half_of_each_group_of_a_real_network_is_the_half_that_torch_pruning_removes(name):
    model, image = network(name), pictures(name)[:1]
    require_equal(model, image, choose_share(model, (image,), 0.5))
