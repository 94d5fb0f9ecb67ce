import pytest
import torch
from torch import nn

from tests.unit.pruning.networks import Written, conv, head
from tests.unit.pruning.sized_networks import halves_that_go_on
from torchedge.errors import PruningError
from torchedge.pruning import Limits, channel_groups, prune_by, prune_to, remove_channels

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


def with_a_query_of_one_channel(width):
    """MobileViT v2: one channel says where to look, and the others are keys and values."""

    def forward(net, x):
        query, key, value = net.stem(x).split([1, width, width], 1)
        context = (key * query.softmax(-1)).sum(-1, keepdim=True)
        return net.head(torch.relu(value) * context)

    torch.manual_seed(0)
    return Written(forward, stem=conv(3, 2 * width + 1), head=head(width)).eval()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_section_of_one_channel_stays_and_the_others_keep_multiples(ratio):
    model = with_a_query_of_one_channel(64)
    with torch.no_grad():
        model.stem.weight[0] *= 1e-3  # by its scores it would go first
    pruned = prune_by(model, (IMAGE,), ratio)
    assert pruned.stem.out_channels == 1 + 2 * 64 * (1 - ratio)
    torch.testing.assert_close(pruned.stem.weight[0], model.stem.weight[0])


def test_a_section_of_one_channel_is_refused_where_it_is_asked_to_go():
    model = with_a_query_of_one_channel(4)
    (group, *_) = channel_groups(model, (IMAGE,))
    assert group.channels == 5
    with pytest.raises(PruningError, match="'split' in the model itself"):
        remove_channels(model, {group: [1, 2, 3, 4]})
    assert remove_channels(model, {group: [0, 3, 4]}).stem.out_channels == 5
