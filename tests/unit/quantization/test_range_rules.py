import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import BINS, Histogram, entropy, minmax, observe
from torchedge.quantization.range_rules import expected_squared_error, mse, percentile
from torchedge.scheme import QuantSpec

SYMMETRIC = QuantSpec()
ASYMMETRIC = QuantSpec(symmetric=False)
SPECS = [
    SYMMETRIC,
    QuantSpec(narrow=True),
    ASYMMETRIC,
    QuantSpec(symmetric=False, signed=False),
    QuantSpec(bits=4),
    QuantSpec(bits=4, symmetric=False),
    QuantSpec(bits=2, symmetric=False),
    QuantSpec(scale_bits=4),
]
ALL_RULES = [minmax, entropy, mse, percentile(99), percentile(60)]


def sample(kind, seed=0, size=20_000):
    rng = np.random.default_rng(seed)
    values = {
        "bell": rng.normal(0.3, 1, size),
        "relu": np.maximum(rng.normal(0, 1, size), 0),
        "negative": -rng.gamma(2, 1, size),
        "heavy tails": rng.standard_t(2, size),
        "skewed": rng.gamma(1.5, 1, size) - 0.5,
        "far from zero": rng.uniform(3, 5, size),
    }
    return values[kind].astype(np.float32)


KINDS = ["bell", "relu", "negative", "heavy tails", "skewed", "far from zero"]


def grid(low, high, spec):
    """The real numbers that the integers stand for; the second implementation."""
    low, high = min(low, 0), max(high, 0)
    span = max(-low, high) if spec.symmetric else high - low
    scale = span / (spec.quant_max if spec.symmetric else spec.quant_max - spec.quant_min)
    if spec.scale_bits is not None:
        unit = 2.0 ** (np.floor(np.log2(scale)) + 1 - spec.scale_bits)
        scale = np.ceil(scale / unit) * unit
    zero = 0 if spec.symmetric else np.clip(np.round(spec.quant_min - low / scale), -128, 255)
    return (np.arange(spec.quant_min, spec.quant_max + 1) - zero) * scale


def squared_error(values, low, high, spec, weights=None):
    """Mean squared distance to the nearest grid point."""
    points = grid(low, high, spec)
    nearest = points[np.searchsorted((points[1:] + points[:-1]) / 2, values)]
    return np.average((values - nearest) ** 2, weights=weights)


def expected_error(histogram, ends, spec):
    low, high = (torch.tensor([end], dtype=torch.float64) for end in ends)
    return float(expected_squared_error(histogram, low, high, spec))


def spread_evenly(histogram, points):
    """Values that the histogram's model is exact for: ``points`` of them evenly in each bin."""
    within = (np.arange(points) + 0.5) / points
    bins = np.arange(len(histogram.counts)) - histogram.bins_below_zero
    values = ((bins[:, None] + within) * histogram.bin_width).ravel()
    return values, np.repeat(histogram.counts.numpy(), points)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [1.0, 0.31, 0.003])
def test_the_expected_error_is_that_of_values_spread_evenly_over_their_bins(kind, spec, kept):
    histogram = observe(None, torch.from_numpy(sample(kind)))
    ends = (kept * histogram.low, kept * histogram.high)
    values, weights = spread_evenly(histogram, 32)
    by_hand = squared_error(values, *ends, spec, weights)
    # Each value stands for an interval of w/32; distances there differ by at most half of that.
    tolerance = histogram.bin_width / 64
    assert expected_error(histogram, ends, spec) ** 0.5 == pytest.approx(
        by_hand**0.5, abs=tolerance
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_root_of_the_expected_error_is_within_a_bin_width_of_the_true_one(kind, spec):
    values = sample(kind, seed=1)
    histogram = observe(None, torch.from_numpy(values))
    for kept in (1.0, 0.5, 0.1):
        ends = (kept * histogram.low, kept * histogram.high)
        truth = squared_error(values, *ends, spec) ** 0.5
        assert expected_error(histogram, ends, spec) ** 0.5 == pytest.approx(
            truth, abs=histogram.bin_width
        )


def how_much_wider(histogram, spec):
    """A range at most so many times as wide as the best one is among the candidates of mse.

    A wider range clips nothing more, and its steps and rounding errors are wider by that factor.
    The first round covers 11 octaves with 192 ratios, or 24 for each of two ends; the second goes
    on in sixths of that.
    """
    tied = spec.symmetric or histogram.low >= 0 or histogram.high <= 0
    return 2 ** (11 / (191 if tied else 23) / 6)


def brute_force_error(values, spec):
    """Smallest root mean square error on the values, over one or two ends in steps of 2 %."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    shares = np.linspace(0.02, 1, 50)
    if spec.symmetric:
        pairs = [(-t, t) for t in shares * max(-low, high)]
    else:
        lows = shares * low if low < 0 else [0.0]
        highs = shares * high if high > 0 else [0.0]
        pairs = [(a, b) for a in lows for b in highs]
    return min(squared_error(values, *pair, spec) for pair in pairs) ** 0.5


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_no_range_of_a_brute_force_search_is_better_than_mse(kind, spec):
    values = sample(kind, seed=2, size=2_000)
    histogram = observe(None, torch.from_numpy(values))
    found = squared_error(values, *mse(histogram, spec), spec) ** 0.5
    best = brute_force_error(values, spec)
    # Both errors as the histogram knows them are within a bin width of the truth.
    wider = how_much_wider(histogram, spec)
    assert found <= wider * (best + histogram.bin_width) + histogram.bin_width


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_no_range_of_a_dense_search_on_the_histogram_is_better_than_mse(kind, spec):
    histogram = observe(None, torch.from_numpy(sample(kind, seed=3)))
    shares = torch.linspace(0.02, 1, 50, dtype=torch.float64)
    shares = torch.cat([shares, shares**2])
    pairs = torch.cartesian_prod(shares, shares)
    if spec.symmetric:
        low = high = shares * max(-histogram.low, histogram.high)
        low = -low
    else:
        low, high = pairs[:, 0] * histogram.low, pairs[:, 1] * histogram.high
    best = float(expected_squared_error(histogram, low, high, spec).min())
    found = expected_error(histogram, mse(histogram, spec), spec)
    assert found <= how_much_wider(histogram, spec) ** 2 * best


VALUES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30)


@given(VALUES, st.sampled_from(SPECS))
def test_mse_is_never_worse_than_minmax_in_expected_error(values, spec):
    histogram = observe(None, torch.tensor(values))
    assert expected_error(histogram, mse(histogram, spec), spec) <= expected_error(
        histogram, minmax(histogram, spec), spec
    )


@given(VALUES, st.lists(VALUES, max_size=2), st.sampled_from(SPECS), st.sampled_from(ALL_RULES))
def test_every_rule_returns_a_range_inside_what_was_seen(first, others, spec, rule):
    histogram = observe(None, torch.tensor(first))
    for values in others:
        histogram = observe(histogram, torch.tensor(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # entropy may leave it to the squared error, and says so
        low, high = rule(histogram, spec)
    assert histogram.low <= low <= high <= histogram.high


@pytest.mark.parametrize("rule", ALL_RULES)
@pytest.mark.parametrize("spec", [SYMMETRIC, ASYMMETRIC], ids=str)
@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30, 0.1])
def test_a_constant_is_its_own_range(value, spec, rule):
    histogram = observe(None, torch.full((7,), value))
    assert rule(histogram, spec) == (histogram.low, histogram.high)


@pytest.mark.parametrize("spec", [SYMMETRIC, ASYMMETRIC], ids=str)
def test_a_range_scales_with_the_values_down_to_1e_30(spec):
    values = torch.from_numpy(sample("skewed"))
    factor = 2.0**-100
    small, large = observe(None, factor * values), observe(None, values)
    for rule in ALL_RULES:
        assert rule(small, spec) == tuple(factor * end for end in rule(large, spec))


def test_of_ranges_with_the_same_short_scale_mse_names_the_widest():
    """0.97 to 0.992 all have the step 1/128: the narrow end would call values clipped that fit."""
    values = torch.sigmoid(3 + torch.randn(100_000, generator=torch.Generator().manual_seed(0)))
    low, high = mse(observe(None, values), QuantSpec(scale_bits=4))
    assert (low, high) == (float(values.min()), 127 / 128) or high == 127 / 128
    clipped = values > high + 0.5 / 128
    assert 0 < float(clipped.float().mean()) < 1 / 128


def test_mse_keeps_values_that_minmax_loses_beside_an_outlier_in_four_bits():
    bell = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    values = torch.cat([bell, torch.tensor([40.0])])
    histogram, spec = observe(None, values), QuantSpec(bits=4)
    errors = [squared_error(values.numpy(), *rule(histogram, spec), spec) for rule in (mse, minmax)]
    # A step of 40 / 7 rounds a standard normal to 0 nearly always: its error is its variance.
    assert errors[1] == pytest.approx(1, rel=0.05)
    assert errors[0] < 0.05


def test_a_batch_a_million_times_wider_is_kept_or_clipped_in_bounded_memory():
    bell = torch.randn(1_000, generator=torch.Generator().manual_seed(0))
    histogram = observe(observe(None, bell), torch.tensor([4e6]))
    assert len(histogram.counts) <= 2 * 64 * BINS
    # Clipping one of 1,001 values at 4e6 costs more than losing all others.
    assert mse(histogram, SYMMETRIC)[1] == pytest.approx(4e6, rel=1 / 127)
    assert percentile(99)(histogram, SYMMETRIC)[1] <= histogram.bin_width


@pytest.mark.parametrize("quantile", [51, 90, 99, 99.9, 99.99, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_percentiles_are_numpys_within_a_bin_width(kind, quantile):
    # No quantile of 20,011 values is a whole number of them, so rounding cannot decide the rank.
    values = sample(kind, size=20_011)
    histogram = observe(None, torch.from_numpy(values))
    low, high = percentile(quantile)(histogram, SYMMETRIC)
    expected = np.percentile(np.abs(values), quantile, method="inverted_cdf")
    assert max(-low, high) == pytest.approx(float(expected), abs=histogram.bin_width)
    low, high = percentile(quantile)(histogram, ASYMMETRIC)
    expected = np.percentile(values, quantile, method="inverted_cdf")
    assert high == pytest.approx(float(expected), abs=histogram.bin_width)
    expected = -np.percentile(-values, quantile, method="inverted_cdf")
    assert low == pytest.approx(float(expected), abs=histogram.bin_width)


@given(VALUES, st.floats(50, 100, exclude_min=True))
def test_a_percentile_keeps_at_least_its_share(values, quantile):
    histogram = observe(None, torch.tensor(values))
    low, high = percentile(quantile)(histogram, SYMMETRIC)
    # Shares are counted exactly; only the comparison here is in floating point.
    wanted = quantile / 100 * len(values) * (1 - 1e-12)
    assert sum(abs(x) <= max(-low, high) for x in values) >= wanted
    low, high = percentile(quantile)(histogram, ASYMMETRIC)
    assert sum(x <= high for x in values) >= wanted
    assert sum(x >= low for x in values) >= wanted


def test_the_hundredth_percentile_is_minmax():
    histogram = observe(None, torch.from_numpy(sample("skewed")))
    assert percentile(100)(histogram, ASYMMETRIC) == minmax(histogram, ASYMMETRIC)


def test_a_percentage_is_taken_as_it_is_written():
    counts = torch.zeros(BINS, dtype=torch.int64)
    counts[0], counts[-1] = 9_999, 1
    histogram = Histogram(counts=counts, bins_below_zero=0, bin_width=1.0, low=0.5, high=2047.5)
    # 99.99 / 100 in binary times 10,000 is 9,999 and a little: rounded up, it would be all values.
    assert percentile(99.99)(histogram, SYMMETRIC)[1] == 1


@pytest.mark.parametrize("quantile", [50, 0.9999, -1, 100.1, float("nan")])
def test_a_quantile_that_is_no_percentage_above_50_is_refused(quantile):
    with pytest.raises(CalibrationError, match=r"outside \(50, 100\]"):
        percentile(quantile)
