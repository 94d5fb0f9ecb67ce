import pytest
import torch
from torch import nn

from tests.unit.pruning.networks import Written, conv, head
from tests.unit.pruning.sized_networks import halves_that_go_on
from torchedge.pruning import Limits, channel_groups, prune_by, prune_to

IMAGE = torch.randn(1, 3, 8, 8)


def halves(width, take=lambda y: y.chunk(2, 1)):
    """Both halves go on in a concatenation; only one is read by a layer of its own."""

    def forward(net, x):
        kept, on = take(torch.relu(net.stem(x)))
        return net.head(torch.cat([kept, on, on + net.more(on)], 1))

    half = width // 2
    torch.manual_seed(0)
    return Written(
        forward, stem=conv(3, width), more=conv(half, half), head=head(3 * half)
    ).eval()  # fmt: skip


TAKEN = {
    "chunk": lambda y: y.chunk(2, 1),
    "split": lambda y: y.split([16, 16], 1),
    "slices": lambda y: (y[:, :16], y[:, 16:]),
    "narrow": lambda y: (y.narrow(1, 0, 16), y.narrow(1, 16, 16)),
}


def widths(pruned):
    return pruned.stem.out_channels, pruned.more.in_channels


@pytest.mark.parametrize("share", [0.7, 0.5, 0.2])
@pytest.mark.parametrize("way", TAKEN)
def test_both_halves_of_a_split_keep_at_least_a_multiple(way, share):
    model = halves(32, TAKEN[way])
    with torch.no_grad():
        model.stem.weight[:16] *= 1e-3  # by its scores the first half would go at once
    limits = Limits(multiple=4)
    pruned = prune_to(model, (IMAGE,), macs=share, limits=limits)
    whole, second = widths(pruned)
    assert whole - second >= 4
    assert second >= 4
    assert (whole - second) % 4 == second % 4 == 0
    assert pruned(IMAGE).shape == (1, 3)


def test_halves_as_wide_as_a_multiple_stay():
    model = halves_that_go_on().eval()
    groups = channel_groups(model, (IMAGE,))
    pruned = prune_by(model, (IMAGE,), 0.9)
    assert groups[0].prunable
    assert widths(pruned) == (16, 8)


def test_a_layer_that_reads_some_channels_keeps_a_multiple_of_them():
    def forward(net, x):
        x = net.stem(x)
        return net.head(torch.cat([x[:, :24], net.more(x[:, 24:])], 1))

    model = Written(forward, stem=conv(3, 32), more=conv(8, 4), head=head(28)).eval()
    with torch.no_grad():
        model.stem.weight[24:] *= 1e-3
    pruned = prune_by(model, (IMAGE,), 0.7)
    assert pruned.more.in_channels == 8
    assert pruned.stem.out_channels == 16


def test_every_part_of_a_long_split_keeps_a_multiple():
    def forward(net, x):
        parts = torch.relu(net.stem(x)).split(4, 1)
        return net.head(torch.cat([parts[i] * 2 for i in range(8)], 1))

    model = Written(forward, stem=conv(3, 32), head=nn.Sequential(*head(32))).eval()
    pruned = prune_by(model, (IMAGE,), 0.9, limits=Limits(multiple=2))
    assert pruned.stem.out_channels == 8 * 2
