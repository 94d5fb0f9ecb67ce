import pytest
import torch
from torch import nn

from torchedge.errors import PruningError
from torchedge.pruning import bake_masks, channel_groups, mask_weights
from torchedge.pruning.channel_scores import (
    batchnorm_scales,
    first_order_taylor,
    geometric_median,
    l1_norms,
    l2_norms,
)


@pytest.fixture
def net():
    """Two channels: [1, -2] and [3, 4] make them, [5, 6] and [7, 8] read them."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        net[1].weight.copy_(torch.tensor([0.5, -2.0]))
        net[2].weight.copy_(torch.tensor([[5.0, 7.0], [6.0, 8.0]]))
    return net.eval()


def group(net):
    return channel_groups(net, (torch.zeros(1, 2),))[0]


def test_norms_are_summed_over_every_layer_of_the_group(net):
    assert l1_norms(net, group(net)).tolist() == [1 + 2 + 5 + 6, 3 + 4 + 7 + 8]
    squares = torch.tensor([1.0 + 4 + 25 + 36, 9 + 16 + 49 + 64])
    torch.testing.assert_close(l2_norms(net, group(net)), squares.sqrt())


def test_taylor_scores_are_weights_times_gradients(net):
    for layer in (net[0], net[2]):
        layer.weight.grad = torch.ones_like(layer.weight)
    net[0].weight.grad[1] = 0
    assert first_order_taylor(net, group(net)).tolist() == [1 + 2 + 5 + 6, 7 + 8]


def test_taylor_scores_without_gradients_are_refused_with_the_way_out(net):
    with pytest.raises(PruningError, match=r"'0.weight' has no gradient.*call backward"):
        first_order_taylor(net, group(net))


def test_batchnorm_scales_are_the_size_of_gamma(net):
    assert batchnorm_scales(net, group(net)).tolist() == [0.5, 2.0]


def test_batchnorm_scales_without_a_batch_norm_are_refused():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(PruningError, match="'0' has no batch norm"):
        batchnorm_scales(net, group(net))


def test_a_filter_that_others_can_replace_has_the_smallest_geometric_median():
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.0], [1.0], [5.0]]))
    found = geometric_median(net, channel_groups(net, (torch.zeros(1, 1),))[0])
    assert found.tolist() == [0 + 1 + 5, 1 + 0 + 4, 5 + 4 + 0]


def test_a_channel_that_is_read_at_many_places_counts_them_all():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[2].weight.copy_(torch.arange(8.0))
    found = l1_norms(net, channel_groups(net, (torch.zeros(1, 1, 2, 2),))[0])
    assert found.tolist() == [1 + 0 + 1 + 2 + 3, 1 + 4 + 5 + 6 + 7]


@pytest.mark.parametrize("scores", [l1_norms, l2_norms, geometric_median, first_order_taylor])
def test_a_network_with_masks_is_scored_as_after_they_were_baked(net, scores):
    masked = mask_weights(net, {"0.weight": torch.tensor([[True, False], [True, True]])})
    baked = bake_masks(masked)
    for model in (masked, baked):
        model(torch.ones(1, 2)).sum().backward()
    assert scores(masked, group(masked)).tolist() == scores(baked, group(baked)).tolist()
