"""What remove_channels refuses: one clear line, and the model as it was."""

import copy

import pytest
import torch
from torch import nn

from tests.unit.pruning.networks import made
from torchedge.errors import PruningError
from torchedge.pruning import channel_groups, remove_channels


def refused(name, choose, words):
    model, x = made(name)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PruningError, match=words) as error:
        remove_channels(model, choose({g.name: g for g in channel_groups(model, (x,))}))
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_group_that_would_be_emptied_is_refused():
    refused("plain", lambda groups: {groups["0"]: []}, "would lose all of its 8 channels")


def test_a_layer_that_would_be_emptied_is_refused_though_its_group_is_not():
    def choose(groups):
        return {groups["stem"]: [4, 5, 6]}  # the first part of the split is 0 and 1

    refused("split", choose, "all 2 channels that 'left.weight' has or reads")


def test_a_group_that_is_not_prunable_is_refused_with_the_reason():
    refused("plain", lambda groups: {groups["4.2"]: [0]}, "'4.2' cannot be pruned: it is an output")


@pytest.mark.parametrize("channel", [8, -1])
def test_a_channel_that_is_not_there_is_refused(channel):
    refused("plain", lambda groups: {groups["0"]: [0, channel]}, f"0 to 7, not {channel}")


def test_groups_of_a_wider_network_are_refused():
    other = nn.Sequential(nn.Conv2d(3, 9, 3, padding=1), nn.ReLU(), nn.Conv2d(9, 6, 3), nn.ReLU())
    other.append(nn.Conv2d(6, 3, 1))
    (group, *_) = channel_groups(other, (torch.zeros(1, 3, 8, 8),))
    refused("plain", lambda groups: {group: [0, 1]}, r"another network's: '0.weight' has shape")


def test_groups_of_a_network_with_other_names_are_refused():
    other, x = made("residual")
    (group, *_) = channel_groups(other, (x,))
    refused("plain", lambda groups: {group: [0, 1]}, "another network's: 'stem.weight' is missing")
