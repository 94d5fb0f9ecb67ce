import math

import pytest
import torch

from benchmarks.peers import measure
from torchedge.errors import UsageError


@pytest.fixture
def taking(monkeypatch):
    """Contestants that move a clock by hand: each call takes the next of these milliseconds."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])

    def contestant(times_ms):
        remaining = iter(times_ms)

        def work():
            now[0] += next(remaining) / 1e3

        return work

    return contestant


def test_the_ratio_is_taken_round_by_round_so_that_drift_cancels(taking):
    drift = [1.0, 2.0, 8.0, 64.0]
    works = {"float": taking(drift), "slow": taking([3 * d for d in drift])}
    found = measure.interleaved(works, warm_ups=1, rounds=3)
    assert found["float"] == measure.Timing(median_ms=pytest.approx(8), ratio=1, fastest_ratio=1)
    assert found["slow"] == measure.Timing(
        median_ms=pytest.approx(24), ratio=pytest.approx(3), fastest_ratio=pytest.approx(3)
    )


def test_the_fastest_times_are_compared_apart_from_the_medians(taking):
    works = {"float": taking([2, 4, 6]), "other": taking([9, 9, 3])}
    found = measure.interleaved(works, warm_ups=0, rounds=3)
    assert found["other"].fastest_ratio == pytest.approx(3 / 2)


def test_warm_ups_do_not_count(taking):
    works = {"float": taking([1000, 1, 1]), "other": taking([1, 2, 2])}
    assert measure.interleaved(works, warm_ups=1, rounds=2)["other"].ratio == pytest.approx(2)


def test_each_round_calls_everyone_once_and_no_order_is_kept():
    calls = []
    works = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    measure.interleaved(works, warm_ups=2, rounds=30)
    turns = list(zip(calls[::2], calls[1::2], strict=True))
    assert len(turns) == 32
    assert set(turns) == {("a", "b"), ("b", "a")}


@pytest.mark.parametrize(("rounds", "warm_ups"), [(0, 0), (1, -1)])
def test_no_rounds_are_refused(rounds, warm_ups):
    with pytest.raises(UsageError):
        measure.interleaved({"a": lambda: None}, rounds=rounds, warm_ups=warm_ups)


def test_no_contestants_are_refused():
    with pytest.raises(UsageError):
        measure.interleaved({})


def test_agreement_counts_rows_whose_winner_is_the_same():
    reference = torch.eye(4)
    permuted = reference[torch.tensor([0, 1, 3, 2])]
    assert measure.top1_agreement(permuted * 5, reference) == 0.5


def test_a_tenth_of_the_signal_as_noise_is_twenty_decibels():
    reference = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    # float32 rounds by 6e-8 of a value, 6e-7 of its noise, and 20 / ln(10) times that in decibels.
    assert measure.sqnr_db(reference * 0.9, reference) == pytest.approx(20, abs=1e-5)


def test_equal_values_have_no_noise():
    assert measure.sqnr_db(torch.ones(3), torch.ones(3)) == math.inf
