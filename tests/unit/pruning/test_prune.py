import copy

import pytest
import torch
from torch import nn

from tests.unit.pruning.networks import Written, conv, head, made
from torchedge.errors import PruningError, UnknownNameError
from torchedge.pruning import Limits, channel_groups, prune_by, prune_to
from torchedge.pruning.channel_scores import l1_norms, random_channels
from torchedge.pruning.cost import Costs
from torchedge.pruning.dependency import dependencies
from torchedge.pruning.prune import choose_channels, choose_share

IMAGE = torch.zeros(1, 3, 8, 8)


def network(width=64):
    torch.manual_seed(0)
    return nn.Sequential(
        conv(3, width), nn.BatchNorm2d(width), nn.ReLU(), conv(width, width), nn.BatchNorm2d(width),
        nn.ReLU(), conv(width, 16), nn.ReLU(), head(16),
    ).eval()  # fmt: skip


def cost(model, kind):
    costs = Costs(dependencies(model, (IMAGE,)), model)
    function = {
        "macs": costs.macs,
        "parameters": costs.parameters,
        "memory": costs.peak_memory_bytes,
    }[kind]
    return function(costs.everything)


@pytest.mark.parametrize("kind", ["macs", "parameters", "memory"])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
def test_a_target_is_met_and_nearly_used_up(kind, share):
    model = network()
    pruned = prune_to(model, (IMAGE,), **{kind: share}, limits=Limits(multiple=2))
    assert share - 0.05 <= cost(pruned, kind) / cost(model, kind) <= share


def test_what_there_is_room_for_is_given_back():
    model, x = made("residual")  # one group is most of the network, and its blocks are large
    limits = Limits(multiple=2)
    keep = choose_channels(model, (x,), target=("macs", 0.5), limits=limits)
    costs = Costs(dependencies(model, (x,)), model)
    by_name = {group.name: channels for group, channels in keep.items()}

    def share(more):
        kept = costs.everything.copy()
        for group in costs.groups:
            if group.name in by_name:
                left = min(len(by_name[group.name]) + more.get(group.name, 0), group.channels)
                kept[costs.units(group)] = [place < left for place in range(group.channels)]
        return costs.macs(kept) / costs.macs(costs.everything)

    assert share({}) <= 0.5
    for group, channels in keep.items():
        if len(channels) < group.channels:
            assert share({group.name: limits.multiple}) > 0.5


def test_a_target_that_is_met_already_removes_nothing():
    model = network()
    assert cost(prune_to(model, (IMAGE,), macs=1.0), "macs") == cost(model, "macs")


def test_peak_memory_is_the_largest_sum_of_tensors_that_live_at_once():
    def forward(net, x):
        return net.last(torch.relu(net.first(x))) + net.beside(x)

    model = Written(forward, first=conv(3, 8), last=conv(8, 2), beside=conv(3, 2)).eval()
    # first's result beside relu's, while x waits: 64 places of 3 + 8 + 8 channels, 4 bytes each.
    assert cost(model, "memory") == 4 * 64 * (3 + 8 + 8)


def test_the_least_important_channels_go():
    model = network(16)
    with torch.no_grad():
        for layer, axis in ((model[0], 0), (model[3], 1)):
            layer.weight.index_fill_(axis, torch.arange(1, 16, 2), 1e-3)
    kept = prune_by(model, (IMAGE,), {"0": 0.5})[0].weight
    assert torch.equal(kept, model[0].weight[::2])


def test_channels_that_are_left_are_a_multiple_and_a_narrow_layer_stays():
    model = nn.Sequential(conv(3, 20), nn.ReLU(), conv(20, 6), nn.ReLU(), head(6)).eval()
    pruned = prune_by(model, (IMAGE,), 0.5, limits=Limits(multiple=8))
    assert pruned[0].out_channels == 16  # 8 would be more than half gone
    assert pruned[2].out_channels == 6


def test_a_multiple_counts_in_each_layer_and_not_in_units():
    model, x = made("grouped")  # two groups: a unit is two channels
    pruned = prune_by(model, (x,), 0.5, limits=Limits(multiple=4))
    assert pruned[0].out_channels == 4
    assert pruned[2].out_channels == 8


def test_the_most_that_may_go_is_kept_to():
    model = network()
    pruned = prune_by(model, (IMAGE,), 0.9, limits=Limits(multiple=1, most=0.25))
    assert pruned[0].out_channels == 48


def test_layers_left_out_by_name_or_type_stay_whole():
    model = network()
    by_name = prune_by(model, (IMAGE,), 0.5, limits=Limits(leave_out=("0",)))
    assert (by_name[0].out_channels, by_name[3].out_channels) == (64, 32)
    by_type = prune_by(model, (IMAGE,), 0.5, limits=Limits(leave_out_types=(nn.BatchNorm2d,)))
    assert (by_type[0].out_channels, by_type[3].out_channels) == (64, 64)
    assert by_type[6].out_channels == 8


def test_the_last_layer_stays():
    pruned = prune_by(network(), (IMAGE,), 0.9)
    assert pruned[8][2].out_features == 3


def test_random_scores_follow_the_seed():
    model, chosen = network(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        chosen.append(list(choose_share(model, (IMAGE,), 0.5, scores=random_channels).values()))
    assert chosen[0] == chosen[1] != chosen[2]


def test_scores_decide_across_layers_in_units_of_their_layers_mean():
    model = network(32)
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter *= 1e-3  # a layer of small weights is no less important for it
    pruned = prune_to(model, (IMAGE,), macs=0.6, limits=Limits(multiple=1), scores=l1_norms)
    assert pruned[0].out_channels > 16


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_ratio_that_is_no_share_is_refused(ratio):
    refused(lambda model: prune_by(model, (IMAGE,), ratio), f"{ratio} is not in")
    refused(lambda model: prune_by(model, (IMAGE,), {"0": ratio}), f"{ratio} is not in")


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "is not in"), (-0.5, "is not in"), (1.1, "is not in"), (float("nan"), "macs is nan")],
)
def test_a_target_that_is_no_share_is_refused(share, words):
    refused(lambda model: prune_to(model, (IMAGE,), macs=share), words)


def test_a_target_that_cannot_be_met_says_how_near_it_came():
    limits = Limits(multiple=8, most=0.5)
    words = r"macs=0.05 cannot be met.*0\.\d{3} of the original is left"
    refused(lambda model: prune_to(model, (IMAGE,), macs=0.05, limits=limits), words)


def test_no_target_and_two_targets_are_refused():
    refused(lambda model: prune_to(model, (IMAGE,)), "0 targets")
    refused(lambda model: prune_to(model, (IMAGE,), macs=0.5, memory=0.5), "2 targets")


def test_latency_without_something_that_measures_is_refused():
    refused(lambda model: prune_to(model, (IMAGE,), latency=0.5), "needs a timer")


def test_a_group_that_cannot_be_pruned_is_refused_when_asked_for_by_name():
    refused(lambda model: prune_by(model, (IMAGE,), {"8.2": 0.5}), "'8.2' cannot be pruned: it is")


def test_a_ratio_by_name_that_would_empty_a_layer_is_refused_with_what_can_go():
    model, x = made("split")  # its first part has two of nine channels
    with pytest.raises(PruningError, match=r"0.95 for 'stem' would take 9 of its 9 channels, and"):
        prune_by(model, (x,), {"stem": 0.95}, limits=Limits(multiple=1, most=0.99))


def test_a_ratio_by_name_for_a_layer_that_is_too_narrow_is_refused():
    model = nn.Sequential(conv(3, 6), nn.ReLU(), head(6)).eval()
    with pytest.raises(PruningError, match="would take 3 of its 6 channels, and 0 can go: multip"):
        prune_by(model, (IMAGE,), {"0": 0.5})


def test_a_group_that_does_not_exist_is_refused():
    with pytest.raises(UnknownNameError, match="no group 'stem'"):
        prune_by(network(), (IMAGE,), {"stem": 0.5})


def test_a_layer_that_does_not_exist_cannot_be_left_out():
    with pytest.raises(UnknownNameError, match="'stem', which is no layer"):
        prune_by(network(), (IMAGE,), 0.5, limits=Limits(leave_out=("stem",)))


@pytest.mark.parametrize("changes", [{"multiple": 0}, {"most": 1.0}, {"most": -0.1}])
def test_limits_that_make_no_sense_are_refused(changes):
    with pytest.raises(PruningError, match="multiple="):
        Limits(**changes)


@pytest.mark.parametrize(
    "scores", [torch.zeros(3), torch.full((64,), float("nan")), torch.zeros(64, 1)]
)
def test_scores_that_are_not_one_finite_number_a_channel_are_refused(scores):
    words = "scores of '0'"
    refused(lambda model: prune_by(model, (IMAGE,), {"0": 0.5}, scores=lambda m, g: scores), words)


def refused(call, words):
    """One clear line, and the model as it was."""
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PruningError, match=words) as error:
        call(model)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_several_names_of_one_group_mean_that_group():
    model, x = made("residual")
    by_first = prune_by(model, (x,), {"stem": 0.5}, limits=Limits(multiple=2))
    by_other = prune_by(model, (x,), {"second": 0.5}, limits=Limits(multiple=2))
    assert by_first.stem.out_channels == by_other.stem.out_channels == 4
    assert len(channel_groups(by_first, (x,))) == 3


def test_two_ratios_for_one_group_are_refused():
    model, x = made("residual")
    with pytest.raises(PruningError, match=r"'second' is in the group 'stem'.*0.25 and 0.5"):
        prune_by(model, (x,), {"stem": 0.5, "second": 0.25}, limits=Limits(multiple=2))
