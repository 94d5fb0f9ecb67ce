import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from tests.unit.pruning.more_networks import MORE_NETWORKS
from tests.unit.pruning.networks import NETWORKS, Written, conv, half_of, head, made
from tests.unit.pruning.sized_networks import SIZED_NETWORKS
from torchedge.errors import TraceError
from torchedge.pruning import channel_groups, remove_channels
from torchedge.pruning.dependency import opened

ALL = NETWORKS | MORE_NETWORKS | SIZED_NETWORKS
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # sums in another order


@torch.no_grad()
def unread(model, keep):
    """The network as it was, but nothing reads the channels that go."""
    copied = copy.deepcopy(opened(model))
    parameters = dict(copied.named_parameters())
    for group, channels in keep.items():
        for part in group.slices:
            if part.side == "in":
                gone = [i for i, unit in enumerate(part.units) if unit not in {*channels, -1}]
                parameters[part.path].index_fill_(
                    part.axis, torch.tensor(gone, dtype=torch.long), 0
                )
    return copied


@pytest.mark.parametrize("name", ALL)
def test_what_is_left_computes_what_it_did_with_channels_that_nobody_reads(name):
    model, x = made(name, ALL)
    keep = half_of(channel_groups(model, (x,)))
    assert keep
    pruned = remove_channels(model, keep)
    torch.testing.assert_close(pruned(x), unread(model, keep)(x), **TOLERANCE)
    assert count(pruned) < count(model)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ALL)
def test_each_group_can_be_pruned_alone(name):
    model, x = made(name, ALL)
    for group, channels in half_of(channel_groups(model, (x,))).items():
        keep = {group: channels}
        pruned = remove_channels(model, keep)
        torch.testing.assert_close(pruned(x), unread(model, keep)(x), **TOLERANCE)


def test_layer_norm_is_left_with_the_channels_that_stay():
    torch.manual_seed(0)
    first, norm, last = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    model, x = nn.Sequential(first, norm, last), torch.randn(3, 4)
    (group, _), kept = channel_groups(model, (x,)), [0, 2, 5]
    pruned = remove_channels(model, {group: kept})
    inner = F.linear(x, first.weight[kept], first.bias[kept])
    inner = F.layer_norm(inner, (3,), norm.weight[kept], norm.bias[kept], norm.eps)
    expected = F.linear(inner, last.weight[:, kept], last.bias)
    torch.testing.assert_close(pruned(x), expected, **TOLERANCE)
    assert pruned[1].normalized_shape == (3,)


def test_group_norm_loses_the_same_channels_in_every_group():
    torch.manual_seed(0)
    first, norm, last = conv(3, 8), nn.GroupNorm(2, 8), conv(8, 2)
    nn.init.normal_(norm.weight)
    model, x = nn.Sequential(first, norm, last), torch.randn(2, 3, 5, 5)
    group = channel_groups(model, (x,))[0]
    assert group.channels == 4  # channels 0 and 4, 1 and 5, …
    pruned, kept = remove_channels(model, {group: [1, 2, 3]}), [1, 2, 3, 5, 6, 7]
    inner = F.conv2d(x, first.weight[kept], first.bias[kept], padding=1)
    inner = F.group_norm(inner, 2, norm.weight[kept], norm.bias[kept], norm.eps)
    expected = F.conv2d(inner, last.weight[:, kept], last.bias, padding=1)
    torch.testing.assert_close(pruned(x), expected, **TOLERANCE)
    assert (pruned[1].num_groups, pruned[1].num_channels) == (2, 6)


def test_attention_loses_whole_heads():
    model, x = made("attention")
    group = next(g for g in channel_groups(model, (x,)) if g.name == "attention.query")
    assert group.channels == 4
    pruned = remove_channels(model, {group: [0, 3]})
    kept = [0, 1, 6, 7]  # of two features each
    theirs = model.attention
    tokens = model.patches(x).flatten(2).transpose(1, 2)
    weights = [part[kept] for part in theirs.in_proj_weight.chunk(3)]
    biases = [part[kept] for part in theirs.in_proj_bias.chunk(3)]
    q, k, v = (
        F.linear(tokens, w, b).unflatten(-1, (2, 2)).transpose(1, 2)
        for w, b in zip(weights, biases, strict=True)
    )
    scores = torch.softmax(q @ k.transpose(2, 3) / 2**0.5, -1)
    attended = (scores @ v).transpose(1, 2).flatten(2)
    attended = F.linear(attended, theirs.out_proj.weight[:, kept], theirs.out_proj.bias)
    expected = model.last(torch.relu(model.hidden(tokens + attended)).mean(1))
    torch.testing.assert_close(pruned(x), expected, **TOLERANCE)


def test_layers_say_the_shapes_that_they_have():
    model = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 1, groups=8),
        nn.ConvTranspose2d(8, 6, 2), nn.Flatten(), nn.Linear(6 * 81, 4),
    )  # fmt: skip
    x = torch.zeros(1, 3, 8, 8)
    first, second, _ = channel_groups(model, (x,))
    pruned = remove_channels(model, {first: [0, 1, 7], second: [0, 5]})
    assert (pruned[0].in_channels, pruned[0].out_channels) == (3, 3)
    assert pruned[1].num_features == pruned[2].num_parameters == 3
    assert (pruned[3].in_channels, pruned[3].out_channels, pruned[3].groups) == (3, 3, 3)
    assert (pruned[4].in_channels, pruned[4].out_channels) == (3, 2)
    assert (pruned[6].in_features, pruned[6].out_features) == (162, 4)


def test_norms_without_weights_say_their_width_too():
    model, x = made("norms_without_weights")
    pruned = remove_channels(model, half_of(channel_groups(model, (x,))))
    assert type(pruned) is nn.Sequential
    assert pruned[1].num_features == pruned[0].out_channels == 4
    assert pruned[4].num_groups == pruned[4].num_channels == 3
    assert pruned[6].num_features == 2


def test_grouped_convolutions_keep_their_groups():
    model, x = made("grouped")
    pruned = remove_channels(model, half_of(channel_groups(model, (x,))))
    layer = pruned[2]
    assert layer.groups == 2
    assert layer.weight.shape == (layer.out_channels, layer.in_channels // 2, 3, 3)


def test_a_network_without_numbers_in_its_code_keeps_its_class_and_names():
    model, x = made("residual")
    pruned = remove_channels(model, half_of(channel_groups(model, (x,))))
    assert type(pruned) is Written
    assert pruned.state_dict().keys() == model.state_dict().keys()


def test_numbers_in_the_code_are_written_anew_and_names_stay():
    model, x = made("reshaped")
    pruned = remove_channels(model, half_of(channel_groups(model, (x,))))
    assert pruned(torch.randn(3, 3, 8, 8)).shape == (3, 3)
    assert pruned.state_dict().keys() == model.state_dict().keys()


def test_the_original_is_left_alone():
    model, x = made("concatenated")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = remove_channels(model, half_of(channel_groups(model, (x,))))
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_pruned_network_trains_and_is_in_the_mode_that_the_original_was_in():
    model, x = made("reshaped")
    pruned = remove_channels(model.train(), half_of(channel_groups(model, (x,))))
    assert pruned.training
    pruned(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters())


def test_a_shared_weight_stays_shared():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[4].weight = model[2].weight
    x = torch.randn(2, 3)
    groups = channel_groups(model, (x,))
    keep = half_of(groups)
    if keep:  # both ends of the shared weight are outputs, or go together
        pruned = remove_channels(model, keep)
        assert pruned[4].weight is pruned[2].weight
    assert not [g for g in groups if g.name == "4" and g.prunable]


def test_weights_that_only_training_uses_go_with_the_trace_and_it_refuses_to_train():
    class Helped(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head, self.help = conv(3, 8), head(8), head(8)

        def forward(self, x):
            x = self.stem(x)
            return (self.head(x), self.help(x)) if self.training else self.head(x)

    model, x = Helped().eval(), torch.randn(1, 3, 8, 8)
    pruned = remove_channels(model, half_of(channel_groups(model, (x,))))
    assert not [name for name, _ in pruned.named_parameters() if name.startswith("help")]
    assert pruned(x).shape == (1, 3)
    with pytest.raises(TraceError, match="computes something else in training mode"):
        pruned.train()
    with pytest.raises(TraceError, match="computes something else in training mode"):
        channel_groups(Helped().train(), (x,))


def test_masks_of_weights_lose_the_same_channels():
    model, x = made("plain")
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    groups = channel_groups(model, (x,))
    pruned = remove_channels(model, {groups[0]: [0, 2, 5]})
    torch.testing.assert_close(pruned[0].weight, model[0].weight[[0, 2, 5]])
    assert pruned[0].out_channels == 3
    optimizer = torch.optim.SGD(pruned.parameters(), 0.1)
    pruned(x).sum().backward()
    optimizer.step()
    gone = model[0].weight_mask[[0, 2, 5]] == 0
    assert bool((pruned[0].weight[gone] == 0).all())


def test_gradients_that_scored_the_channels_are_not_those_of_the_new_network():
    model, x = made("plain")
    model(x).sum().backward()
    first = channel_groups(model, (x,))[0]
    pruned = remove_channels(model, {first: [0, 1]})
    assert all(parameter.grad is None for parameter in pruned.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
