"""Weights that are computed of the parameters, filter by filter, whenever they are used."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.pruning.networks import conv, head
from torchedge.errors import PruningError
from torchedge.pruning import channel_groups, prune_by, prune_to, remove_channels

IMAGE = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)


class ByBatchNorm(nn.Conv2d):
    """As in networks without norms (Brock et al. 2021): the weight is one sample of a norm."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, self.out_channels).view(-1, 1, 1, 1))

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        gain = (self.gain * 0.2).view(-1)
        made = F.batch_norm(flat, None, None, gain, training=True, momentum=0.0)
        weight = made.reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)


class ByHand(ByBatchNorm):
    """As it is often written (Qiao et al. 2019)."""

    def forward(self, x):
        centred = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = centred / (centred.std(dim=(1, 2, 3), keepdim=True) + 1e-5) * self.gain
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)


def standardised(kind, groups=1):
    torch.manual_seed(0)
    layers = kind(3, 16, 3), nn.ReLU(), kind(16, 16, 3, padding=1, groups=groups), nn.ReLU()
    return nn.Sequential(*layers, kind(16, 8, 1), head(8)).eval()


@pytest.mark.parametrize("kind", [ByBatchNorm, ByHand])
def test_what_is_left_is_the_network_that_was_built_with_fewer_channels(kind):
    model = standardised(kind)
    first, second, *_ = channel_groups(model, (IMAGE,))
    assert [first.members, second.members] == [
        (("0", "out"), ("2", "in")),
        (("2", "out"), ("4", "in")),
    ]
    kept = [list(range(0, 16, 2)), list(range(12))]
    pruned = remove_channels(model, {first: kept[0], second: kept[1]})
    small = nn.Sequential(
        *(kind(3, 8, 3), nn.ReLU(), kind(8, 12, 3, padding=1), nn.ReLU()),
        *(kind(12, 8, 1), head(8)),
    )  # fmt: skip
    small.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(pruned(IMAGE), small(IMAGE))
    weight = model[2].weight[kept[1]][:, kept[0]]
    assert torch.equal(small[2].weight, weight)
    assert torch.equal(small[2].gain, model[2].gain[kept[1]])


@pytest.mark.parametrize("kind", [ByBatchNorm, ByHand])
@pytest.mark.parametrize("groups", [1, 2, 16])
def test_a_network_of_standardised_weights_loses_half_and_learns(kind, groups):
    model = standardised(kind, groups)
    same = remove_channels(model, {})
    torch.testing.assert_close(same(IMAGE), model(IMAGE))
    pruned = prune_by(model, (IMAGE,), 0.5)
    assert pruned.state_dict()["2.weight"].shape[0] == 8
    pruned.train()(IMAGE).sum().backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())


def test_the_reason_is_named_where_no_layer_has_weights_that_can_go():
    class Sorted(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight.sort(0).values, self.bias)

    model = nn.Sequential(Sorted(3, 16, 3), nn.ReLU(), Sorted(16, 8, 3), head(8)).eval()
    with pytest.raises(PruningError, match=r"the operator 'sort' that it passes through"):
        prune_to(model, (IMAGE,), macs=0.3)


def test_filters_that_change_with_one_another_stay():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * self.weight.abs().mean()

    model = nn.Sequential(Scaled(3, 16, 3), nn.ReLU(), conv(16, 8), head(8)).eval()
    assert channel_groups(model, (IMAGE,))[0].reason == "'mean' is taken over its channels"
