from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as kullback_leibler

from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import BINS, entropy, entropy_threshold, minmax, observe
from torchedge.scheme import QuantSpec


def brute_force_threshold(histogram, levels):
    """The same search bin by bin and level by level, with scipy's divergence."""
    bins = histogram.astype(float)
    bins[0] = bins[1]
    divergences = []
    for kept in range(levels, len(bins) + 1):
        level = np.digitize(range(kept), np.linspace(0, kept, levels + 1)) - 1
        level[bins[:kept] == 0] = -1
        sizes, mass = Counter(level), np.zeros(levels)
        for bin_index, index in enumerate(level):
            mass[index] += bins[bin_index] if index >= 0 else 0
        q = np.array([mass[index] / sizes[index] if index >= 0 else 0 for index in level])
        p = bins[:kept].copy()
        p[-1] += bins[kept:].sum()
        divergences.append(kullback_leibler(p, q))
    last_smallest = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return levels + last_smallest


def random_histogram(seed):
    rng = np.random.default_rng(seed)
    bins = int(rng.integers(160, 700))
    shape = np.exp(-np.arange(bins) / rng.uniform(10, bins))
    counts = rng.poisson(shape * rng.uniform(20, 2000))
    counts[rng.integers(0, bins, 3)] += rng.integers(1, 500, 3)  # spikes
    counts[-1] += 1
    return counts


@pytest.mark.parametrize("seed", range(20))
def test_the_entropy_range_equals_a_brute_force_search(seed):
    counts = random_histogram(seed)
    assert entropy_threshold(torch.from_numpy(counts), 128) == brute_force_threshold(counts, 128)


def test_an_outlier_is_clipped_and_uniform_values_are_not():
    generator = torch.Generator().manual_seed(0)
    bell = torch.randn(100_000, generator=generator)
    outlier = observe(None, torch.cat([bell, torch.tensor([40.0])]))
    assert entropy(outlier, QuantSpec())[1] < 10
    flat = observe(None, torch.rand(1_000_000, generator=generator))
    low, high = entropy(flat, QuantSpec())
    assert (low, high) == pytest.approx((flat.low, flat.high), abs=flat.bin_width)


def test_twice_the_values_give_twice_the_range():
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(3))
    once, twice = (entropy(observe(None, f * values), QuantSpec()) for f in (1, 2))
    assert twice == pytest.approx((2 * once[0], 2 * once[1]))


def test_bins_are_appended_at_the_same_width():
    first = observe(None, torch.tensor([0.1, 1.0]))
    second = observe(first, torch.tensor([3.0]))
    assert second.bin_width == first.bin_width == 1 / BINS
    assert len(second.counts) == 3 * BINS
    assert int(second.counts[:BINS].sum()) == 2
    assert int(second.counts[-1]) == 1


def test_memory_is_bounded_however_far_the_range_grows():
    histogram = observe(None, torch.tensor([1e-6]))
    histogram = observe(histogram, torch.tensor([1e6]))
    assert len(histogram.counts) <= 64 * BINS
    assert int(histogram.counts.sum()) == 2


BATCHES = st.lists(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), min_size=1, max_size=5
)


@given(BATCHES)
def test_counting_batch_by_batch_keeps_every_value_and_the_exact_extremes(batches):
    histogram = None
    for batch in batches:
        histogram = observe(histogram, torch.tensor(batch))
    everything = [value for batch in batches for value in batch]
    assert int(histogram.counts.sum()) == len(everything)
    expected = torch.tensor(everything)
    assert minmax(histogram, QuantSpec()) == (float(expected.min()), float(expected.max()))


@given(BATCHES)
def test_the_entropy_range_never_exceeds_what_was_seen(batches):
    histogram = None
    for batch in batches:
        histogram = observe(histogram, torch.tensor(batch))
    low, high = entropy(histogram, QuantSpec())
    assert histogram.low <= low
    assert high <= histogram.high


def test_all_zero_batches_do_not_fix_the_width():
    histogram = observe(observe(None, torch.zeros(5)), torch.tensor([2.0]))
    assert histogram.bin_width == 2 / BINS
    assert int(histogram.counts[0]) == 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused_and_counted(bad):
    with pytest.raises(CalibrationError, match="1 of 2"):
        observe(None, torch.tensor([0.5, bad]))


def test_an_empty_batch_is_refused():
    with pytest.raises(CalibrationError, match="empty"):
        observe(None, torch.zeros(0))
