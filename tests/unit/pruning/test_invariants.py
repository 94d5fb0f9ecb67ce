"""What holds for any choice of channels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.pruning.networks import made
from torchedge.pruning import channel_groups, remove_channels
from torchedge.pruning.cost import Costs
from torchedge.pruning.dependency import dependencies, opened

NAMES = ("concatenated", "squeeze_excite", "grouped", "attention", "reshaped", "gated")
_MADE = {name: made(name) for name in NAMES}
_GROUPS = {name: channel_groups(model, (x,)) for name, (model, x) in _MADE.items()}


@st.composite
def choices(draw, least=1):
    """A network and what to keep of each of its groups."""
    name = draw(st.sampled_from(NAMES))
    keep = {}
    for group in _GROUPS[name]:
        if group.prunable:
            channels = st.sets(st.integers(0, group.channels - 1), min_size=least)
            keep[group] = sorted(draw(channels))
    return name, keep


def flops(model, x):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


@settings(max_examples=40)
@given(choices())
def test_costs_of_a_choice_are_those_of_the_network_that_it_makes(choice):
    name, keep = choice
    model, x = _MADE[name]
    seen = opened(model)
    costs = Costs(dependencies(seen, (x,)), seen)
    kept = costs.everything.copy()
    by_name = {group.name: group for group in costs.groups}
    for group, channels in keep.items():
        part = costs.units(by_name[group.name])
        kept[part] = [channel in channels for channel in range(group.channels)]
    pruned = remove_channels(model, keep)
    assert costs.parameters(kept) == pytest.approx(sum(p.numel() for p in pruned.parameters()))
    assert 2 * costs.macs(kept) == pytest.approx(flops(pruned, x))
    assert pruned(x).shape == model(x).shape


@settings(max_examples=20)
@given(choices(least=2))  # one input a group would make a convolution depthwise
def test_groups_pruned_one_after_another_give_the_same_as_all_at_once(choice):
    name, keep = choice
    model, x = _MADE[name]
    stepwise = model
    for group, channels in keep.items():
        again = next(g for g in channel_groups(stepwise, (x,)) if g.name == group.name)
        stepwise = remove_channels(stepwise, {again: channels})
    at_once = remove_channels(model, keep)
    torch.testing.assert_close(stepwise(x), at_once(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_keeping_everything_changes_nothing(name):
    model, x = _MADE[name]
    keep = {group: range(group.channels) for group in _GROUPS[name] if group.prunable}
    pruned = remove_channels(model, keep)
    torch.testing.assert_close(pruned(x), model(x), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in pruned.parameters()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_network_has_the_same_groups_every_time(name):
    model, x = _MADE[name]
    again = channel_groups(model, (x,))
    assert again == _GROUPS[name]
    assert [g.slices for g in again] == [g.slices for g in _GROUPS[name]]
