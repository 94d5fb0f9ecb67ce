import math
import warnings
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as kullback_leibler
from torch.utils._python_dispatch import TorchDispatchMode

from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import (
    BINS,
    entropy,
    entropy_range,
    entropy_threshold,
    magnitudes,
    minmax,
    most_clipped,
    observe,
)
from torchedge.quantization.range_rules import mse
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


FAR_FROM_ZERO = {
    "10 + N": lambda n: 10 + n,
    "-10 - N": lambda n: -10 - n,
    "pixels": lambda n: (150 + 20 * n).clamp(0, 255),
    "sigmoid": lambda n: torch.sigmoid(3 + n),
    "mean of 49 ReLUs": lambda n: n.view(-1, 50)[:, :49].relu().mean(1),
    "two far peaks": lambda n: torch.cat([10 + n, n - 10]),
    "mostly zero, else far": lambda n: torch.where(torch.arange(len(n)) % 200 == 0, 10 + n, 0),
}


@pytest.mark.parametrize("spec", [QuantSpec(), QuantSpec(symmetric=False), QuantSpec(scale_bits=4)])
@pytest.mark.parametrize("kind", FAR_FROM_ZERO)
def test_values_far_from_zero_are_not_clipped_by_entropy(kind, spec):
    values = FAR_FROM_ZERO[kind](torch.randn(100_000, generator=torch.Generator().manual_seed(0)))
    histogram = observe(None, values)
    with pytest.warns(UserWarning, match=r"would clip \d+\.\d% .* squared error decides"):
        found = entropy(histogram, spec)
    assert found == mse(histogram, spec)
    assert entropy_range(histogram, spec).refused_share > 0.98


def share_clipped(values, found, levels):
    """Beyond the range by more than half a step, of what is not in the first bin, by hand."""
    step = max(-found[0], found[1]) / levels
    others = values[values.abs() > values.abs().max() / BINS]
    beyond = (others < found[0] - step / 2) | (others > found[1] + step / 2)
    return float(beyond.double().mean())


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_values_entropy_clips_a_tail_or_the_squared_error_decides(seed):
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal(rng.uniform(-10, 10), 10 ** rng.uniform(-2, 1), int(rng.integers(1, 5_000)))
        for _ in range(rng.integers(1, 4))
    ]
    values = torch.from_numpy(np.concatenate(parts).astype(np.float32))
    values = values.relu() + 1e-3 if seed % 3 == 0 else values
    histogram, spec = observe(None, values), QuantSpec()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = entropy(histogram, spec)
    a_bin = 1 / (values.abs() > values.abs().max() / BINS).sum()
    few = share_clipped(values, found, 128) <= most_clipped(spec) + 2 * float(a_bin)
    assert few or found == mse(histogram, spec)


def test_a_threshold_that_clips_less_than_an_integers_share_is_the_classic_one():
    bell = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    histogram = observe(None, torch.cat([bell, torch.full((150,), 40.0)]))
    classic = entropy_threshold(magnitudes(histogram), 128) * histogram.bin_width
    assert classic < 10
    assert entropy(histogram, QuantSpec())[1] == classic


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


def test_memory_is_bounded_on_both_sides_of_zero():
    histogram = observe(None, torch.tensor([-1e-30, 1e-30]))
    for width in (1e-10, 1.0, 1e6):
        histogram = observe(histogram, torch.tensor([-width, width]))
    assert len(histogram.counts) <= 2 * 64 * BINS
    assert int(histogram.counts.sum()) == 8
    assert histogram.counts[[0, -1]].tolist() == [1, 1]


class LargestNewTensor(TorchDispatchMode):
    """Notes how many bytes the largest tensor takes that an operation makes."""

    size_bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        old = {x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)}
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in old:
                self.size_bytes = max(self.size_bytes, tensor.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_batch_is_counted_without_a_copy_of_it(layout):
    values = torch.randn(4, 32, 128, 128).to(memory_format=layout)
    with LargestNewTensor() as largest:
        observe(None, values)
    assert 0 < largest.size_bytes <= 2**18 * 8 < values.numel() * 4


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


def exact_counts(values, width):
    """The bin rule in rational numbers: an edge belongs to the bin nearer to zero."""
    positions = [Fraction(value) / Fraction(width) for value in values]
    bins = [math.ceil(p) - 1 if p > 0 else math.floor(p) for p in positions]
    return Counter(max(b, 0) if p == 0 else b for b, p in zip(bins, positions, strict=True))


def counts_by_bin(histogram):
    counts = enumerate(histogram.counts.tolist(), start=-histogram.bins_below_zero)
    return {index: count for index, count in counts if count}


@given(BATCHES)
def test_every_value_is_in_the_bin_that_exact_arithmetic_gives_it(batches):
    values = [value for batch in batches for value in batch]
    histogram = observe(None, torch.tensor(values))
    if histogram.bin_width:
        assert counts_by_bin(histogram) == exact_counts(values, histogram.bin_width)


@given(st.lists(st.integers(-4096, 4096), min_size=1, max_size=50))
def test_values_on_an_edge_are_in_the_bin_nearer_to_zero(integers):
    histogram = observe(observe(None, torch.tensor([2048.0])), torch.tensor(integers))
    assert histogram.bin_width == 1
    assert counts_by_bin(histogram) == exact_counts([2048, *integers], 1)


@given(BATCHES, st.floats(2.0**-20, 100, width=32))
def test_counts_do_not_depend_on_how_later_values_are_split(batches, first):
    at_once = parts = observe(None, torch.tensor([first]))
    for batch in batches:
        parts = observe(parts, torch.tensor(batch))
    at_once = observe(at_once, torch.tensor([value for batch in batches for value in batch]))
    assert parts.counts.tolist() == at_once.counts.tolist()
    assert (parts.bin_width, parts.bins_below_zero) == (at_once.bin_width, at_once.bins_below_zero)


@pytest.mark.parametrize("seed", range(3))
def test_magnitudes_are_a_histogram_of_absolute_values(seed):
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(seed)) - 0.5
    absolute = values.abs().double().numpy()
    expected, _ = np.histogram(absolute, bins=BINS, range=(0, absolute.max()))
    assert magnitudes(observe(None, values)).tolist() == expected.tolist()


def test_values_of_one_sign_take_bins_on_one_side_only():
    assert observe(None, torch.tensor([3.0, 5.0])).bins_below_zero == 0
    negative = observe(None, torch.tensor([-3.0, -5.0]))
    assert len(negative.counts) == negative.bins_below_zero + 1 == BINS + 1


def test_observing_changes_neither_the_values_nor_the_histogram_before():
    values = torch.tensor([-2.0, 1.0], dtype=torch.float64)
    first = observe(None, values)
    before = first.counts.clone()
    observe(first, torch.tensor([7.0, 1.0]))
    observe(first, values)
    assert values.tolist() == [-2.0, 1.0]
    assert torch.equal(first.counts, before)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int64]
)
def test_every_real_type_is_counted_like_float32(dtype):
    values = torch.tensor([[0, 1, 2], [5, 100, 100]])
    histogram, expected = observe(None, values.to(dtype)), observe(None, values.float())
    assert torch.equal(histogram.counts, expected.counts)
    assert (histogram.low, histogram.high) == (0.0, 100.0)


@pytest.mark.parametrize("value", [1e-30, -1e-30, 1e-45, 1e30, -3e38])
def test_a_constant_of_any_size_fills_the_outermost_bin(value):
    histogram = observe(None, torch.full((5,), value))
    assert int(histogram.counts[0 if value < 0 else -1]) == 5
    assert entropy(histogram, QuantSpec()) == (histogram.low, histogram.high)


def test_magnitudes_without_a_normal_bin_width_count_as_zero():
    histogram = observe(None, torch.tensor([1e-310], dtype=torch.float64))
    assert (histogram.bin_width, histogram.counts.tolist()) == (0.0, [1])


def test_the_values_of_a_slice_and_of_an_expanded_tensor_are_counted():
    values = torch.arange(24.0).view(2, 3, 4)
    assert int(observe(None, values[:, :, ::2]).counts.sum()) == 12
    assert int(observe(None, values[:1].expand(5, 3, 4)).counts.sum()) == 60
    assert int(observe(None, torch.tensor(2.0)).counts.sum()) == 1


@given(BATCHES)
def test_the_entropy_range_never_exceeds_what_was_seen(batches):
    histogram = None
    for batch in batches:
        histogram = observe(histogram, torch.tensor(batch))
    found = entropy_range(histogram, QuantSpec())
    low, high = found.low, found.high
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
