import itertools
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from torchedge.errors import BudgetError, UnknownNameError, UsageError
from torchedge.quantization.diagnostics import (
    BitBudget,
    LayerSensitivity,
    choose_bits,
    costs,
    sensitivity,
    sqnr,
    with_bits,
)

WIDTHS = (2, 4, 8, 32)


def row(layer, bits, error, weights=100, macs=1000):
    input_bits = 32 if bits == 32 else 8
    return LayerSensitivity(
        layer=layer,
        bits=bits,
        error=error,
        sqnr_db=0.0,
        weights=weights,
        macs=macs,
        input_bits=input_bits,
    )


@st.composite
def networks(draw):
    rows = []
    for number in range(draw(st.integers(1, 5))):
        weights, macs = draw(st.integers(1, 10_000)), draw(st.integers(1, 1_000_000))
        widths = draw(st.lists(st.sampled_from(WIDTHS), min_size=1, max_size=4, unique=True))
        exponents = st.floats(-8, 1)
        rows += [row(f"l{number}", w, 10 ** draw(exponents), weights, macs) for w in widths]
    return rows


def every_assignment(rows):
    layers = {r.layer: [] for r in rows}
    for r in rows:
        layers[r.layer].append(r.bits)
    for bits in itertools.product(*layers.values()):
        yield dict(zip(layers, bits, strict=True))


def best(rows, budget):
    """Brute force: the least error, or the fewest bytes, of what fits; ``None`` if nothing does."""
    names = ("weight_bytes", "bit_operations", "float_macs", "error")
    limits = {name: getattr(budget, name) for name in names if getattr(budget, name) is not None}
    found = [costs(rows, assignment) for assignment in every_assignment(rows)]
    fitting = [c for c in found if all(getattr(c, name) <= limits[name] for name in limits)]
    goal = "error" if budget.error is None else "weight_bytes"
    return min((getattr(cost, goal) for cost in fitting), default=None), goal


def check(rows, budget):
    expected, goal = best(rows, budget)
    if expected is None:
        with pytest.raises(BudgetError):
            choose_bits(rows, budget)
        return
    found = costs(rows, choose_bits(rows, budget))
    for name in ("weight_bytes", "bit_operations", "float_macs", "error"):
        limit = getattr(budget, name)
        assert limit is None or getattr(found, name) <= limit
    assert getattr(found, goal) == pytest.approx(expected, abs=solved_to(rows, goal), rel=1e-14)


def solved_to(rows, goal):
    """HiGHS's gap of 1e-6, and 1e-6 on what counts as whole, of a figure scaled as documented."""
    figures = {}
    for r in rows:
        figures.setdefault(r.layer, []).append(getattr(costs([r], {r.layer: r.bits}), goal))
    more = [value - min(layer) for layer in figures.values() for value in layer]
    smallest = min((value for value in more if value > 0), default=0.0)
    return max(2e-6 * smallest, 2e-13 * max(more))


def test_a_gain_that_the_solver_cannot_see_is_within_what_is_documented():
    rows = [row("l0", 2, 1.0), row("l1", 2, 1.0)]
    rows += [row("l2", bits, error) for bits, error in [(2, 1), (4, 1 - 4e-9), (8, 1), (32, 0.1)]]
    check(rows, BitBudget(float_macs=0.0))


@given(networks(), st.floats(0, 1))
def test_under_a_limit_on_bytes_it_finds_what_trying_everything_finds(rows, share):
    most = sum(r.weights for r in rows) * 4.0
    check(rows, BitBudget(weight_bytes=share * most))


@given(networks(), st.floats(0, 1))
def test_under_a_limit_on_bit_operations_it_finds_what_trying_everything_finds(rows, share):
    most = sum(r.macs for r in rows) * 32 * 32
    check(rows, BitBudget(bit_operations=share * most))


@given(networks(), st.floats(0, 1))
def test_under_a_limit_on_what_is_left_in_float_it_finds_what_trying_everything_finds(rows, share):
    most = sum(r.macs for r in rows)
    check(rows, BitBudget(float_macs=share * most))


@given(networks(), st.floats(-8, 2))
def test_under_a_limit_on_the_error_it_finds_the_fewest_bytes(rows, exponent):
    check(rows, BitBudget(error=10**exponent))


@given(networks(), st.floats(0, 0.5), st.floats(0, 0.5), st.one_of(st.none(), st.floats(-4, 1)))
def test_limits_hold_together(rows, bytes_share, operations_share, exponent):
    budget = BitBudget(
        weight_bytes=bytes_share * sum(r.weights for r in rows) * 4,
        bit_operations=operations_share * sum(r.macs for r in rows) * 1024,
        error=None if exponent is None else 10**exponent,
    )
    check(rows, budget)


@given(networks())
def test_a_budget_that_is_met_exactly_is_enough(rows):
    for assignment in itertools.islice(every_assignment(rows), 4):
        exactly = costs(rows, assignment)
        check(rows, BitBudget(weight_bytes=exactly.weight_bytes))
        check(rows, BitBudget(error=exactly.error))


@given(networks())
def test_a_budget_that_is_missed_by_a_bit_is_refused_with_the_smallest(rows):
    smallest = min(costs(rows, a).weight_bytes for a in every_assignment(rows))
    assume(smallest > 1 / 8)
    with pytest.raises(BudgetError, match="the smallest has"):
        choose_bits(rows, BitBudget(weight_bytes=smallest - 1 / 8))


def test_a_limit_that_is_exceeded_by_less_than_the_solver_sees_is_still_a_limit():
    rows = [row("a", 4, 1 + 5e-10), row("a", 8, 0.5), row("b", 4, 0.0)]
    assert choose_bits(rows, BitBudget(error=1.0)) == {"a": 8, "b": 4}


def test_negative_errors_are_gains():
    rows = [row("a", 8, 0.0), row("a", 4, -0.5), row("b", 8, 0.0), row("b", 4, 1.0)]
    assert choose_bits(rows, BitBudget(weight_bytes=1e6)) == {"a": 4, "b": 8}


def test_limits_that_exclude_each_other_are_named():
    rows = [row("a", 8, 0.0), row("a", 4, 1.0)]
    with pytest.raises(BudgetError, match=r"weight_bytes ≤ 50, error ≤ 0\.5 together"):
        choose_bits(rows, BitBudget(weight_bytes=50, error=0.5))


def test_many_layers_are_solved_under_a_tight_budget():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(100, 1_000_000, (60,), generator=generator).tolist()
    errors = (10 ** (-6 * torch.rand(60, generator=generator))).tolist()
    rows = [
        row(f"l{i}", bits, error * 4.0 ** (8 - bits), size)
        for i, (size, error) in enumerate(zip(sizes, errors, strict=True))
        for bits in (8, 6, 4, 2)
    ]
    budget = sum(sizes) * 0.5
    chosen = choose_bits(rows, BitBudget(weight_bytes=budget))
    found = costs(rows, chosen)
    assert found.weight_bytes <= budget
    # No exchange of one or two layers that fits is better.
    table = {(r.layer, r.bits): (r.weights * r.bits / 8, r.error) for r in rows}
    for a, b in itertools.combinations(chosen, 2):
        for bits in itertools.product((8, 6, 4, 2), repeat=2):
            now = [table[name, chosen[name]] for name in (a, b)]
            then = [table[name, width] for name, width in zip((a, b), bits, strict=True)]
            size = found.weight_bytes + sum(t[0] - n[0] for t, n in zip(then, now, strict=True))
            gain = sum(n[1] - t[1] for t, n in zip(then, now, strict=True))
            assert size > budget or gain <= 1e-9 * found.error


def test_what_cannot_be_chosen_from_is_refused():
    with pytest.raises(UsageError, match="budget is empty"):
        BitBudget()
    with pytest.raises(UsageError, match="must be finite"):
        choose_bits([row("a", 8, math.inf)], BitBudget(error=1))
    with pytest.raises(UsageError, match="0 sensitivities"):
        choose_bits([], BitBudget(error=1))
    with pytest.raises(UnknownNameError, match="'a' was not measured with 4 bits"):
        costs([row("a", 8, 0.0)], {"a": 4})


def test_costs_are_bytes_operations_what_is_left_in_float_and_a_sum_of_errors():
    rows = [row("a", 4, 0.25, weights=10, macs=100), row("b", 32, 0.5, weights=1, macs=7)]
    found = costs(rows, {"a": 4, "b": 32})
    assert found.weight_bytes == 10 * 4 / 8 + 4
    assert found.bit_operations == 100 * 4 * 8 + 7 * 32 * 32
    assert found.float_macs == 7
    assert found.error == 0.75


def test_the_chosen_bits_beat_any_other_way_to_spend_them_on_the_network(model, images):
    rows = sensitivity(model, [images], bits=(8, 2))
    sizes = {r.layer: r.weights for r in rows}
    budget = BitBudget(weight_bytes=sum(sizes.values()) * 5 / 8)
    chosen = choose_bits(rows, budget)
    worst = max(
        (a for a in every_assignment(rows) if costs(rows, a).weight_bytes <= budget.weight_bytes),
        key=lambda a: costs(rows, a).error,
    )
    with torch.no_grad():
        expected = model.eval()(images)
        better, worse = (sqnr(expected, with_bits(model, b)(images)) for b in (chosen, worst))
    assert better > worse
