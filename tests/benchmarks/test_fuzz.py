"""Forty generated networks through the properties of ``python -m benchmarks.fuzz``."""

from collections import defaultdict
from typing import get_args

import pytest
import torch
from torch import nn

from benchmarks import fuzz
from benchmarks.fuzz import violations
from benchmarks.generated import recipes
from benchmarks.generated.layers import layer
from benchmarks.generated.networks import generated
from benchmarks.generated.properties import PROPERTIES
from benchmarks.generated.recipes import Block, Conv, Join, Recipe, Split
from benchmarks.generated.strategies import options
from torchedge.errors import PruningError, TraceError

_EXAMPLES = {"balanced": 10, "exported": 4}  # those take seconds each
_REFUSED = 0.1  # more would say that the property is held by what is not there


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_what_must_hold_for_every_network_holds_for_generated_ones(name):
    refusals, examples = defaultdict(list), _EXAMPLES.get(name, 40)
    found = violations(name, examples, 0, refusals)
    shown = [f"{violation.text}: {violation.recipe}" for violation in found]
    assert not shown, "\n".join(shown)
    assert sum(map(len, refusals.values())) <= _REFUSED * examples, refusals


@pytest.mark.parametrize("kind", get_args(Block))
@pytest.mark.parametrize("axes", [1, 2])
def test_every_option_of_every_block_makes_another_module_that_runs(kind, axes):
    x = torch.randn(2, 16, *(8,) * axes)
    for field, values in options(kind).items():
        for value in values:
            module = layer(kind(**{field: value}), 16, axes).eval()
            with torch.no_grad():
                assert module(x).isfinite().all(), (field, value)


def test_what_is_printed_builds_the_same_network_again():
    recipe = Recipe(blocks=(Conv(width=8, mode="circular"), Split(form="grown")), seed=7)
    printed = eval(repr(recipe), vars(recipes).copy())
    assert printed == recipe
    one, two = generated(recipe), generated(printed)
    assert torch.equal(one.model(one.unseen), two.model(two.unseen))
    other = generated(Recipe(blocks=recipe.blocks, seed=8))
    assert not torch.equal(one.model(one.unseen), other.model(one.unseen))


def test_making_a_network_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    generated(Recipe())
    assert torch.equal(before, torch.random.get_rng_state())


def _no_split(made):
    kinds = [type(m).__name__ for m in made.model.modules()]
    assert "Split" not in kinds, "there is a split"


def test_a_violation_is_shrunk_to_the_one_block_that_causes_it(monkeypatch):
    monkeypatch.setattr(fuzz, "PROPERTIES", {"none": _no_split})
    (first, *_) = violations("none", 25, 3, {})
    assert first.recipe == repr(Recipe(blocks=(Split(),)))
    assert (first.text, first.seed) == ("AssertionError: there is a split", 3)


def test_a_network_that_is_refused_by_name_is_counted_and_violates_nothing(monkeypatch):
    def refusing(made: nn.Module) -> None:
        raise TraceError("torch.fx cannot follow it")

    monkeypatch.setattr(fuzz, "PROPERTIES", {"refused": refusing})
    refusals = defaultdict(list)
    assert list(violations("refused", 5, 0, refusals)) == []
    ((reason, recipes_refused),) = refusals.items()
    assert reason == "TraceError: torch.fx cannot follow it"
    assert 0 < len(recipes_refused) <= 5


def test_of_two_joined_layers_one_loses_all_and_the_other_nothing_and_that_is_refused_by_name():
    blocks = Join(form="two"), Conv(width=16, kernel=1, groups="two", norm=False, act="relu")
    with pytest.raises(PruningError, match=r"all 8 channels that 'blocks.0.b.weight' has"):
        PROPERTIES["dead"](generated(Recipe(blocks=blocks)))
