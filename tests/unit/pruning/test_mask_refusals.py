"""What masks refuse: one line each, and the model as it was."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tests.unit.pruning.masked_networks import convolutional, linear, same, state, tied
from torchedge.errors import PruningError
from torchedge.pruning import Unstructured, bake_masks, mask_weights, masks_of, weight_masks
from torchedge.pruning.masks import masks_of_zeros, set_masks


def masked(sparsity=0.5, model=None):
    model = convolutional() if model is None else model
    return mask_weights(model, weight_masks(model, sparsity))


def refused(message, attempt, model):
    before, kinds = state(model), [type(m) for m in model.modules()]
    with pytest.raises(PruningError, match=message) as caught:
        attempt(model)
    assert "\n" not in str(caught.value)
    assert same(state(model), before)
    assert [type(m) for m in model.modules()] == kinds


@pytest.mark.parametrize("sparsity", [-0.5, 1.0, 2.0])
def test_a_sparsity_outside_zero_to_one_is_refused(sparsity):
    refused(r"not in \[0, 1\)", lambda net: weight_masks(net, sparsity), convolutional())


def test_a_sparsity_that_would_empty_a_layer_is_refused():
    net = convolutional()
    with torch.no_grad():
        net[0].weight.mul_(1e-3)
    refused(
        r"a sparsity of 0\.9 would remove all 72 weights of '0\.weight'; lower it, keep some",
        lambda net: weight_masks(net, 0.9),
        net,
    )
    found = weight_masks(net, 0.9, pattern=Unstructured(least_kept=0.05))
    assert int(found["0.weight"].sum()) == 4  # of 72, rounded up
    assert sum(int((~mask).sum()) for mask in found.values()) == int(0.9 * 744)


def test_masks_for_another_network_are_refused():
    masks = weight_masks(linear(), 0.5)
    refused(
        r"the masks are for another network: 1 of 2 names are not here \('1\.weight'\); this one",
        lambda net: mask_weights(net, masks),
        convolutional(),
    )
    refused(
        r"the mask for '1\.weight' has the shape \(16, 36\) and the weight \(20, 36\)",
        lambda net: mask_weights(net, masks),
        linear(hidden=20),
    )
    refused(
        "for another network",
        lambda net: set_masks(net, masks),
        masked(0.5),
    )


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.tensor([[0.5, 1.0]]), "holds other values than 0 and 1"),
        (torch.tensor([[math.nan, 1.0]]), "holds other values than 0 and 1"),
        (torch.tensor([[0, 0]]), "would remove all 2 weights"),
        (torch.tensor([1, 0]), "has the shape"),
    ],
)
def test_masks_that_make_no_sense_are_refused(mask, message):
    refused(message, lambda net: mask_weights(net, {"weight": mask}), nn.Linear(2, 1))


def test_masks_that_would_empty_a_layer_leave_a_masked_network_as_it_was():
    net = masked(0.5)
    masks = masks_of(net)
    masks["5.weight"] = torch.zeros_like(masks["5.weight"])
    refused("would remove all 384 weights", lambda net: set_masks(net, masks), net)


def test_a_weight_that_is_parametrised_by_something_else_is_refused():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))
    refused(
        r"'0\.weight' is parametrised already",
        lambda net: mask_weights(net, {"0.weight": torch.eye(2)}),
        net,
    )


def test_no_masks_are_refused():
    refused("no masks to put on", lambda net: mask_weights(net, {}), nn.Linear(2, 2))
    for attempt in (bake_masks, masks_of):
        refused("the Linear has no masks; call mask_weights", attempt, nn.Linear(2, 2))


def test_diverged_weights_are_refused_by_name():
    net = linear()
    with torch.no_grad():
        net[3].weight[0, 0] = math.nan
    with pytest.raises(PruningError, match=r"scores of '3\.weight' hold 1 NaN of 192"):
        weight_masks(net, 0.5)


def test_a_network_without_zeros_has_none_to_keep():
    refused("no weight of the Sequential is zero", masks_of_zeros, linear())


def test_a_mask_for_a_weight_that_is_shared_is_refused():
    refused(
        r"'2\.weight' is shared by several layers, which a mask would part",
        lambda net: mask_weights(net, {"2.weight": torch.ones(6, 4)}),
        tied(),
    )
