"""Scores, masks and schedules against numpy and cases worked out by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import prune

from torchedge.errors import PruningError
from torchedge.pruning.functional import (
    channel_norms,
    cubic_sparsity,
    global_masks,
    iterative_sparsity,
    lamp_scores,
    linear_sparsity,
    magnitude_scores,
    median_distances,
    n_of_m_mask,
    n_of_m_masks_in_part,
    random_scores,
    shuffled_mask,
    smallest_mask,
    stepped_sparsity,
    taylor_scores,
)

WORKED = torch.tensor([[0.8, -0.1, 0.3], [-0.05, 0.9, -0.2]])
SCHEDULES = [cubic_sparsity, linear_sparsity, stepped_sparsity]
# Few values, so that ties are common.
VALUES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=40)
SHARES = st.integers(0, 99).map(lambda percent: percent / 100)


def removed_by_numpy(scores, count):
    """The count smallest; of equal ones the last first."""
    scores = np.asarray(scores)
    order = np.lexsort((-np.arange(len(scores)), scores))
    mask = np.ones(len(scores), dtype=bool)
    mask[order[:count]] = False
    return mask.tolist()


def test_half_of_the_worked_example_goes():
    mask = smallest_mask(magnitude_scores(WORKED), 0.5)
    assert torch.equal(WORKED * mask, torch.tensor([[0.8, 0.0, 0.3], [0.0, 0.9, 0.0]]))


@given(VALUES, SHARES)
def test_the_count_is_exact_and_ties_go_from_the_end(scores, share):
    count = math.floor(Fraction(str(share)) * len(scores))  # exact where floats are not
    assert smallest_mask(torch.tensor(scores), share).tolist() == removed_by_numpy(scores, count)


def test_what_a_share_means_in_decimal_counts_and_not_in_binary():
    """0.29 · 100 is 28.999999999999996 in floating point."""
    assert int((~smallest_mask(torch.rand(100), 0.29)).sum()) == 29


def test_without_ties_it_is_what_torchs_own_pruning_removes():
    weight = torch.randn(17, 9)
    theirs = prune.L1Unstructured(amount=0.6).compute_mask(weight, torch.ones_like(weight))
    ours = smallest_mask(magnitude_scores(weight), round(0.6 * 153) / 153)
    assert torch.equal(ours, theirs.bool())


@given(VALUES, VALUES, SHARES)
def test_globally_the_smallest_of_all_go_as_of_one_long_weight(first, second, share):
    masks = global_masks([torch.tensor(first), torch.tensor(second)], share)
    assert torch.equal(torch.cat(masks), smallest_mask(torch.tensor(first + second), share))


@given(VALUES, VALUES, SHARES, st.sampled_from([0.0, 0.1, 0.5]))
def test_a_floor_keeps_the_best_of_each_weight_and_the_count_stays_exact(
    first, second, share, floor
):
    scores = [torch.tensor(first), torch.tensor(second)]
    total = len(first) + len(second)
    least = [math.ceil(Fraction(str(floor)) * s.numel()) for s in scores]
    gone = math.floor(Fraction(str(share)) * total)
    if gone > total - sum(least):
        with pytest.raises(PruningError, match="floors of the layers"):
            global_masks(scores, share, least_kept=floor)
        return
    masks = global_masks(scores, share, least_kept=floor)
    assert sum(int((~mask).sum()) for mask in masks) == gone
    for mask, score, count in zip(masks, scores, least, strict=True):
        best = torch.tensor(removed_by_numpy(score, score.numel() - count))
        assert bool(mask[best].all())


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (3, 4), (4, 8), (4, 4)])
def test_in_each_run_the_n_largest_stay(n, m):
    scores = torch.rand(6, 24)
    kept = n_of_m_mask(scores, n, m).view(-1, m)
    for run, mask in zip(scores.view(-1, m), kept, strict=True):
        assert set(mask.nonzero().flatten().tolist()) == set(run.argsort()[m - n :].tolist())


def test_equal_scores_in_a_run_keep_the_first():
    assert n_of_m_mask(torch.ones(1, 4)).tolist() == [[True, True, False, False]]


@given(st.integers(0, 24), st.integers(0, 24))
def test_on_the_way_to_two_of_four_the_removed_are_always_some_of_those_at_the_end(a, b):
    scores = [torch.rand(3, 8, generator=torch.Generator().manual_seed(3)), torch.ones(2, 12)]
    fewer, more = (n_of_m_masks_in_part(scores, count / 48) for count in sorted((a, b)))
    end = [n_of_m_mask(s) for s in scores]
    for few, many, last in zip(fewer, more, end, strict=True):
        assert bool((few | ~many).all())
        assert bool((many | ~last).all())
    assert sum(int((~mask).sum()) for mask in more) == max(a, b)


def test_at_the_end_of_the_way_it_is_two_of_four():
    scores = [torch.rand(3, 8), torch.rand(2, 12)]
    for mask, score in zip(n_of_m_masks_in_part(scores, 0.5), scores, strict=True):
        assert torch.equal(mask, n_of_m_mask(score))


def test_a_shuffled_mask_keeps_as_many_and_others():
    mask = torch.rand(20, 10) < 0.3
    shuffled = shuffled_mask(mask)
    assert int(shuffled.sum()) == int(mask.sum())
    assert not torch.equal(shuffled, mask)


def test_random_scores_follow_the_seed_and_not_the_weight():
    torch.manual_seed(5)
    first = random_scores(torch.zeros(100))
    torch.manual_seed(5)
    assert torch.equal(first, random_scores(torch.arange(100.0)))


def test_lamp_scores_are_the_share_of_the_squares_that_are_not_smaller():
    weight = torch.randn(5, 4)
    squares = sorted(float(v) ** 2 for v in weight.flatten())
    for value, score in zip(weight.flatten(), lamp_scores(weight).flatten(), strict=True):
        place = min(range(20), key=lambda i: abs(squares[i] - float(value) ** 2))
        assert float(score) == pytest.approx(squares[place] / sum(squares[place:]), rel=1e-5)


def test_lamp_scores_do_not_depend_on_the_scale_of_a_layer():
    weight = torch.randn(5, 4)
    assert torch.allclose(lamp_scores(weight), lamp_scores(1024 * weight))
    assert lamp_scores(torch.zeros(3)).tolist() == [0, 0, 0]


def test_taylor_scores_are_weight_times_gradient():
    weight, grad = torch.tensor([[2.0, -3.0]]), torch.tensor([[-0.5, 0.0]])
    assert taylor_scores(weight, grad).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_channel_norms_are_numpys(p):
    weight = torch.randn(5, 3, 2, 2)
    expected = [np.linalg.norm(row, p) for row in weight.flatten(1).double().numpy()]
    assert channel_norms(weight, p).tolist() == pytest.approx(expected, rel=1e-5)


def test_median_distances_are_sums_over_all_other_filters():
    weight = torch.randn(4, 3, 2)
    flat = weight.flatten(1).double().numpy()
    expected = [sum(np.linalg.norm(a - b) for b in flat) for a in flat]
    assert median_distances(weight).tolist() == pytest.approx(expected, rel=1e-4)


def test_the_cubic_schedule_is_zhu_and_guptas():
    for step, expected in ((0, 0.1), (10, 0.1), (35, 0.9 - 0.8 * 0.75**3), (110, 0.9), (500, 0.9)):
        found = cubic_sparsity(step, begin=10, end=110, final=0.9, initial=0.1)
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_fifth_of_the_rest_each_round():
    shares = [100 * iterative_sparsity(round_) for round_ in range(1, 6)]
    assert shares == pytest.approx([20, 36, 48.8, 59.04, 67.232])


def test_stepped_sparsity_takes_a_share_of_the_rest_each_round():
    found = [stepped_sparsity(t, begin=5, end=15, final=0.6723, share=0.2) for t in range(5, 16)]
    expected = [0, 0, 0.2, 0.2, 0.36, 0.36, 0.488, 0.488, 0.5904, 0.5904, 0.6723]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(st.integers(0, 60), st.floats(0, 0.99), st.floats(0, 0.5))
def test_schedules_rise_from_the_first_to_the_last_sparsity(schedule, begin, final, initial):
    initial = min(initial, final)
    times = {"begin": begin, "end": begin + 37, "final": final, "initial": initial}
    values = [schedule(t, **times) for t in range(begin + 60)]
    assert values[begin] == pytest.approx(initial)
    assert values[begin + 37] == final == values[-1]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, math.nan])
def test_a_sparsity_outside_zero_to_one_is_refused(sparsity):
    for refused in (
        lambda: smallest_mask(torch.rand(4), sparsity),
        lambda: global_masks([torch.rand(4)], sparsity),
    ):
        with pytest.raises(PruningError, match=r"not in \[0, 1\); 0\.9 removes nine of ten"):
            refused()


@pytest.mark.parametrize(
    ("n", "m", "message"), [(0, 4, "0 of 4"), (5, 4, "5 of 4"), (2, 5, "8 in")]
)
def test_runs_that_do_not_fit_are_refused(n, m, message):
    with pytest.raises(PruningError, match=message):
        n_of_m_mask(torch.rand(2, 8), n, m)


def test_more_than_the_pattern_removes_is_refused():
    with pytest.raises(PruningError, match=r"2 of 4 is a sparsity of 0\.5 in the end, so 0\.6"):
        n_of_m_masks_in_part([torch.rand(2, 8)], 0.6)


@pytest.mark.parametrize(
    "refused",
    [
        lambda scores: smallest_mask(scores, 0.5),
        lambda scores: global_masks([scores], 0.5),
        lambda scores: n_of_m_mask(scores),
    ],
)
def test_scores_that_are_no_numbers_are_refused(refused):
    with pytest.raises(PruningError, match="hold 1 NaN of 4; go back to a checkpoint"):
        refused(torch.tensor([[1.0, 2.0, math.nan, 3.0]]))
