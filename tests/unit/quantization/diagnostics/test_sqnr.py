import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchedge.errors import UsageError
from torchedge.quantization.diagnostics import Power, sqnr


def numpy_sqnr(reference, found):
    r, q = reference.numpy().astype(np.float64), found.numpy().astype(np.float64)
    return 10 * np.log10((r**2).sum() / ((r - q) ** 2).sum())


def test_a_tenth_of_the_amplitude_as_noise_is_20_db():
    assert sqnr(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])) == pytest.approx(20)


def test_it_is_what_numpy_computes():
    reference, noise = torch.randn(2, 1000)
    found = reference + 0.01 * noise
    # r - r' is rounded to float32: 2^-24 relative to |r| ≈ 1 against noise of 0.01, squared twice.
    assert sqnr(reference, found) == pytest.approx(numpy_sqnr(reference, found), abs=1e-3)


def test_equal_tensors_have_an_infinite_ratio_and_no_signal_a_negative_one():
    assert sqnr(torch.ones(3), torch.ones(3)) == math.inf
    assert sqnr(torch.zeros(3), torch.zeros(3)) == math.inf
    assert sqnr(torch.zeros(3), torch.ones(3)) == -math.inf
    assert Power(signal=0.0, noise=1.0).relative_noise == math.inf


def test_one_more_bit_is_six_decibels():
    x = torch.rand(200_000) * 2 - 1
    noisy = [torch.round(x * 2**bits) / 2**bits for bits in (7, 8)]
    # Uniform noise of a quarter of the power: 10·log10(4); 200,000 samples vary by 1 %.
    assert sqnr(x, noisy[1]) - sqnr(x, noisy[0]) == pytest.approx(6.02, abs=0.1)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(UsageError, match=r"\(1, 3\) cannot be compared .* \(2, 3\)"):
        sqnr(torch.ones(2, 3), torch.ones(1, 3))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_running_sums_do_not_depend_on_the_batches(sizes):
    reference, found = torch.linspace(-1, 1, sum(sizes)), torch.linspace(-1, 1.1, sum(sizes))
    power = Power()
    for pair in zip(reference.split(sizes), found.split(sizes), strict=True):
        power = power.plus(*pair)
    assert power.sqnr_db == pytest.approx(sqnr(reference, found), rel=1e-9)
    assert power.relative_noise == pytest.approx(10 ** (-power.sqnr_db / 10), rel=1e-9)
