"""Masks on a network: they survive training, averaging, copying and checkpoints, and end."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from tests.unit.pruning.masked_networks import convolutional, linear, same, state, tied
from torchedge.pruning import NOfM, Unstructured, bake_masks, mask_weights, masks_of, weight_masks
from torchedge.pruning.masks import WeightMask, masked_weights, masks_of_zeros, set_masks
from torchedge.pruning.patterns import next_masks

X = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 3


def masked(sparsity=0.5, model=None):
    model = convolutional() if model is None else model
    return mask_weights(model, weight_masks(model, sparsity))


def train(model, optimizer, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), LABELS).backward()
        optimizer.step()


def zeros_are_where_the_masks_say(model, masks):
    weights = {name: model.get_submodule(name.removesuffix(".weight")).weight for name in masks}
    return all(torch.equal(weights[name] != 0, mask) for name, mask in masks.items())


def test_a_masked_network_computes_with_zeros_and_the_original_is_untouched():
    net = convolutional()
    before, masks = state(net), weight_masks(net, 0.5)
    found = mask_weights(net, masks)
    by_hand = copy.deepcopy(net)
    for name, mask in masks.items():
        by_hand.get_parameter(name).data *= mask
    assert torch.equal(found.eval()(X), by_hand.eval()(X))
    assert same(state(net), before)
    assert type(net[0]) is nn.Conv2d


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.5),
    ],
    ids=["SGD", "AdamW"],
)
def test_momentum_and_weight_decay_do_not_bring_weights_back(optimizer):
    """Momentum from before the mask is what moves a weight that only had its value zeroed."""
    net = masked(0.0)
    step = optimizer(net.parameters())
    train(net, step)
    masks = next_masks(net, 0.7, pattern=Unstructured())
    set_masks(net, masks)
    before = net[0].weight.clone()
    for _ in range(5):
        train(net, step, steps=1)
        assert zeros_are_where_the_masks_say(net, masks)
    assert not torch.equal(net[0].weight, before)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize(
    "averaging",
    [
        {"avg_fn": get_ema_avg_fn(0.9)},
        {"multi_avg_fn": get_ema_multi_avg_fn(0.999)},
        {},
    ],
    ids=["EMA", "EMA of all at once", "SWA"],
)
def test_an_average_of_models_has_the_zeros_of_the_last(use_buffers, averaging):
    """Averaged with buffers, a mask of ones for kept weights drifts off one and off zero."""
    net = masked(0.0)
    average = AveragedModel(net, use_buffers=use_buffers, **averaging)
    step = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for sparsity in (0.0, 0.3, 0.3, 0.8, 0.8, 0.8):
        train(net, step, steps=1)
        set_masks(net, next_masks(net, sparsity, pattern=Unstructured()))
        average.update_parameters(net)
    assert zeros_are_where_the_masks_say(average.module, masks_of(net))


def test_a_checkpoint_holds_the_masks():
    net = masked(0.6)
    other = masked(0.0, convolutional(seed=1))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(X), net.eval()(X))
    assert same(masks_of(other), masks_of(net))


def test_removed_weights_that_became_nan_are_zero():
    net = masked(0.5, linear())
    parameter, mask = masked_weights(net)["1.weight"]
    with torch.no_grad():
        parameter[~mask.mask] = math.nan
    assert bool(net(X).isfinite().all())


def test_a_removed_weight_has_no_gradient():
    net = masked(0.5, linear())
    net(X).square().sum().backward()
    parameter, mask = masked_weights(net)["1.weight"]
    assert bool((parameter.grad[~mask.mask] == 0).all())
    assert bool((parameter.grad[mask.mask] != 0).any())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_masks_follow_the_network_into_another_type(dtype):
    net = masked(0.5)
    masks = masks_of(net)
    assert net.to(dtype)[0].weight.dtype == dtype
    assert zeros_are_where_the_masks_say(net, masks)


def test_masks_are_exchanged_and_not_stacked():
    net = masked(0.5)
    masks = weight_masks(convolutional(), 0.25)
    again = mask_weights(net, masks)
    assert same(masks_of(again), masks)
    assert not same(masks_of(net), masks)
    assert len(again[0].parametrizations.weight) == 1


@pytest.mark.parametrize("kind", [bool, int, float])
def test_masks_may_be_booleans_or_ones_and_zeros(kind):
    mask = torch.tensor([[kind(1), kind(0)]])
    assert masks_of(mask_weights(nn.Linear(2, 1), {"weight": mask}))["weight"].tolist() == [
        [True, False]
    ]


def test_baking_leaves_a_plain_network_that_answers_the_same():
    net = masked(0.5)
    train(net, torch.optim.SGD(net.parameters(), 0.1))
    baked = bake_masks(net)
    assert torch.equal(baked.eval()(X), net.eval()(X))
    assert baked.state_dict().keys() == convolutional().state_dict().keys()
    assert [type(m) for m in baked] == [type(m) for m in convolutional()]
    assert zeros_are_where_the_masks_say(baked, masks_of(net))
    assert isinstance(baked[0].weight, nn.Parameter)


def test_baking_a_copy_leaves_the_network_and_its_other_copies_masked():
    """Copies share the class that torch's remove_parametrizations edits."""
    net = masked(0.5)
    other = copy.deepcopy(net)
    bake_masks(net)
    for still_masked in (net, other):
        assert zeros_are_where_the_masks_say(still_masked, masks_of(net))
        assert parametrize.is_parametrized(still_masked[0], "weight")


def test_masks_lie_beside_other_parametrisations_of_the_same_layer():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    parametrize.register_parametrization(net[0], "bias", nn.Tanh())
    found = mask_weights(net, weight_masks(net, 0.5))
    baked = bake_masks(found)
    x = torch.rand(3, 4)
    assert torch.equal(found(x), baked(x))
    assert parametrize.is_parametrized(baked[0], "bias")
    assert not parametrize.is_parametrized(net[0], "weight")
    assert bool((net[0].weight != 0).all())


def test_what_a_mask_has_removed_goes_first_whatever_its_score():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[9.0, 1.0], [2.0, 3.0]]))
    net = mask_weights(net, {"0.weight": torch.tensor([[False, True], [True, True]])})
    found = next_masks(net, 0.5, pattern=Unstructured())["0.weight"]
    assert found.tolist() == [[False, False], [True, True]]


def test_scores_may_read_the_gradient():
    net = linear()
    net(X).square().sum().backward()
    found = weight_masks(net, 0.5, scores=lambda w: (w * w.grad).abs())
    expected = torch.cat([(net[i].weight * net[i].weight.grad).abs().flatten() for i in (1, 3)])
    kept = torch.cat([found[f"{i}.weight"].flatten() for i in (1, 3)])
    assert expected[kept].min() >= expected[~kept].max()


def test_each_layer_loses_its_share_where_the_scope_is_a_layer():
    found = weight_masks(convolutional(), 0.25, pattern=Unstructured(scope="layer"))
    assert {name: int((~mask).sum()) for name, mask in found.items()} == {
        "0.weight": 72 // 4,
        "3.weight": 288 // 4,
        "5.weight": 384 // 4,
    }


@pytest.mark.parametrize("name", ["3.weight", "5.weight"])
def test_two_of_four_runs_over_the_inputs_at_each_place_of_the_kernel(name):
    """Inputs are the second axis of a convolution and the first of a transposed one."""
    net = convolutional()
    mask = weight_masks(net, 0.5, pattern=NOfM(2, 4))[name]
    weight = net.get_parameter(name).detach().abs()
    if name == "5.weight":
        mask, weight = mask.transpose(0, 1), weight.transpose(0, 1)
    for o in range(mask.shape[0]):
        for y, x in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            for start in range(0, mask.shape[1], 4):
                run = weight[o, start : start + 4, y, x]
                best = set(run.argsort()[2:].tolist())
                kept = mask[o, start : start + 4, y, x].nonzero().flatten().tolist()
                assert set(kept) == best


def test_a_mask_shows_its_counts():
    assert "1 of 2 weights stay" in repr(WeightMask(torch.tensor([True, False])))


def test_a_network_with_masks_compiles_and_follows_a_new_mask():
    net = masked(0.0, linear())
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    compiled(X)
    set_masks(net, next_masks(net, 0.9, pattern=Unstructured()))
    assert torch.equal(compiled(X), net(X))


def test_zeros_of_a_weight_that_is_shared_get_no_mask_which_would_part_it():
    net = tied()
    with torch.no_grad():
        net[1].weight[0] = 0
        net[2].weight[0] = 0
    masks = masks_of_zeros(net)
    assert list(masks) == ["1.weight"]
    masked = mask_weights(net, masks)
    assert masked[2].weight is masked[0].weight
