import itertools

import numpy as np
import pytest

from torchedge.bench import (
    Census,
    LayerCount,
    compare,
    latency,
    latency_ratio,
    measure_latency,
    top1_accuracy,
)
from torchedge.errors import UsageError, VerificationError


@pytest.fixture
def clock(monkeypatch):
    """A clock that a session moves by hand."""

    class Clock:
        now = 0.0

        def __call__(self):
            return int(self.now * 1e6)

    clock = Clock()
    monkeypatch.setattr(latency.time, "perf_counter_ns", clock)
    return clock


def taking(clock, times_ms):
    remaining = iter(times_ms)

    def session(*inputs):
        clock.now += next(remaining)
        return inputs

    return session


def test_percentiles_are_those_of_the_counted_runs_only(clock):
    times = [1000.0, 1000.0, *range(1, 102)]
    found = measure_latency(taking(clock, times), [], warmup=2, runs=101)
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.runs) == (51, 91, 100, 101)


def test_the_ratio_is_the_median_over_pairs_so_that_drift_cancels(clock):
    drift = [1.0, 2.0, 8.0, 64.0]
    slow, fast = taking(clock, [3 * d for d in drift]), taking(clock, drift)
    *_, ratio = latency_ratio(slow, fast, [], warmup=1, runs=3)
    assert ratio == pytest.approx(3)


@pytest.mark.parametrize(("warmup", "runs"), [(0, 0), (-1, 5)])
def test_no_runs_are_refused(warmup, runs):
    with pytest.raises(UsageError):
        measure_latency(lambda: (), [], warmup=warmup, runs=runs)


def constant(*rows):
    remaining = itertools.cycle(rows)
    return lambda *_: (np.array([next(remaining)], dtype=np.float32),)


SAMPLES = [(np.zeros(1),), (np.zeros(1),)]


def test_differences_are_counted_in_steps_of_the_output_grid():
    found = constant([0.0, 0.5], [1.0, 0.0])
    wanted = constant([0.0, 0.25], [1.0, 0.0])
    parity = compare(found, wanted, SAMPLES, scales=[0.25])
    assert parity.outputs[0].max_lsb == 1
    assert parity.outputs[0].identical_share == 0.75
    assert parity.max_abs_error == 0.25
    assert parity.outputs[0].relative_to_range == 0.25
    assert (parity.top1_agreement, parity.samples) == (1.0, 2)


def test_a_changed_winner_lowers_the_agreement():
    parity = compare(constant([1, 0], [1, 0]), constant([1, 0], [0, 1]), SAMPLES)
    assert parity.top1_agreement == 0.5
    assert parity.outputs[0].max_lsb is None


def test_the_cosine_is_that_of_all_values_together():
    parity = compare(constant([1, 0], [1, 0]), constant([1, 0], [0, 1]), SAMPLES)
    assert parity.cosine_similarity == pytest.approx(0.5)


def test_outputs_that_are_no_scores_have_no_winner():
    image = lambda *_: (np.ones((1, 2, 2)),)  # noqa: E731
    assert compare(image, image, SAMPLES).top1_agreement is None


@pytest.mark.parametrize(
    ("session", "message"),
    [(constant([float("nan"), 1]), "NaN"), (constant([1, 2, 3]), "shapes")],
)
def test_answers_that_cannot_be_compared_are_refused(session, message):
    with pytest.raises(VerificationError, match=message):
        compare(session, constant([0, 1]), SAMPLES)


def test_comparing_nothing_is_refused():
    with pytest.raises(VerificationError, match="no samples"):
        compare(constant([1]), constant([1]), [])


def test_of_equal_scores_the_first_counts():
    assert top1_accuracy(np.array([[1, 1], [0, 1]]), np.array([0, 1])) == 1


def test_a_census_without_arithmetic_has_no_integer_share():
    assert Census(layers=(), evidence="").integer_share == 0


def test_the_integer_share_is_weighed_by_macs():
    layers = [LayerCount(name="", operation="", macs=m, integer=i) for m, i in ((30, 1), (10, 0))]
    census = Census(layers=tuple(layers), evidence="")
    assert (census.macs, census.integer_share) == (40, 0.75)
