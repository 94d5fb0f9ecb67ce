"""The worked examples of the mathematics, then invariants."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from torchedge.quantization.functional import (
    affine_params,
    dequantize,
    fake_quantize,
    fold_batchnorm,
    quantize,
    round_ste,
    weight_params,
)
from torchedge.scheme import QuantSpec

INT8 = QuantSpec(narrow=True)
UINT8 = QuantSpec(symmetric=False, signed=False)
ASYMMETRIC_INT8 = QuantSpec(symmetric=False)
FLOAT32_ROUNDING = 2.0**-24


def params(values, spec):
    return affine_params(values.amin(), values.amax(), spec)


def test_symmetric_int8_of_the_worked_example():
    weight = torch.tensor([[0.8, -0.5, 0.3], [-0.2, 0.9, -0.7]])
    scale, zero_point = params(weight, INT8)
    assert float(scale) == pytest.approx(0.00708661, abs=5e-9)
    assert quantize(weight, scale, zero_point, INT8).tolist() == [[113, -71, 42], [-28, 127, -99]]
    real = dequantize(torch.tensor([113], dtype=torch.int32), scale, zero_point, INT8)
    assert float(real) == pytest.approx(0.80079, abs=5e-6)


def test_asymmetric_uint8_of_the_worked_example():
    values = torch.tensor([0, 0.3, 0.6, 0.9, 1.2])
    scale, zero_point = params(values, UINT8)
    assert float(scale) == pytest.approx(0.00470588, abs=5e-9)
    assert int(zero_point) == 0
    assert quantize(values, scale, zero_point, UINT8).tolist() == [0, 64, 128, 191, 255]


def test_asymmetric_int8_is_uint8_shifted_by_128():
    values = torch.tensor([0, 0.3, 0.6, 0.9, 1.2])
    scale, zero_point = params(values, ASYMMETRIC_INT8)
    assert int(zero_point) == -128
    shifted = quantize(values, scale, zero_point, ASYMMETRIC_INT8)
    assert shifted.tolist() == [-128, -64, 0, 63, 127]


def test_per_channel_scales_of_the_worked_example():
    weight = torch.tensor([[0.1, -0.05], [-0.5, 0.2], [1.0, 0.3]])
    scale, _ = weight_params(weight, QuantSpec(axis=0, narrow=True))
    torch.testing.assert_close(
        scale, torch.tensor([0.000787, 0.003937, 0.007874]), atol=5e-7, rtol=0
    )


def test_one_scale_for_all_leaves_the_small_channel_13_steps():
    weight = torch.tensor([[0.1], [0.5], [1.0]])
    scale, zero_point = weight_params(weight, INT8)
    assert quantize(weight, scale, zero_point, INT8)[0].item() == 13


def test_int4_spans_minus_7_to_7():
    spec = QuantSpec(bits=4, narrow=True)
    values = torch.linspace(-1, 1, 101)
    integers = quantize(values, *params(values, spec), spec)
    assert (int(integers.min()), int(integers.max())) == (-7, 7)


def test_the_error_of_symmetric_int8_on_unit_range_is_at_most_1_in_254():
    values = torch.linspace(-1, 1, 10_001)
    error = (fake_quantize(values, *params(values, INT8), INT8) - values).abs().max()
    # One rounding of the division and one of the product come on top, each of a value below 1.
    assert float(error) <= 1 / 254 + 2 * FLOAT32_ROUNDING


def test_the_gradient_is_1_inside_the_range_and_0_outside():
    x = torch.tensor([-1.30, -1.28, 0.004, 1.27, 1.30], requires_grad=True)
    fake_quantize(x, torch.tensor(0.01), torch.tensor(0), QuantSpec()).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_rounding_is_half_to_even_and_passes_the_gradient():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5], requires_grad=True)
    y = round_ste(x)
    y.sum().backward()
    assert y.tolist() == [0, 2, 2, 0]
    assert x.grad.tolist() == [1, 1, 1, 1]


def test_folding_equals_the_layer_and_its_batch_norm():
    conv, norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, eps=1e-3)
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.1, 2)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = torch.randn(2, 3, 8, 8)
    weight, bias = fold_batchnorm(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.eps,
    )
    expected = norm.eval()(conv(x)).detach()
    # A sum of 27 products: its rounding error is at most 27 units in the last place of its terms.
    tolerance = 2 * 27 * FLOAT32_ROUNDING * float(expected.abs().max() + 10)
    folded = nn.functional.conv2d(x, weight, bias)
    torch.testing.assert_close(folded, expected, atol=tolerance, rtol=0)


def test_an_all_zero_channel_gets_scale_1_and_stays_zero():
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    spec = QuantSpec(axis=0, narrow=True)
    scale, zero_point = weight_params(weight, spec)
    assert float(scale[0]) == 1
    assert fake_quantize(weight, scale, zero_point, spec)[0].tolist() == [0, 0]


def test_a_range_that_does_not_hold_zero_is_widened_to_it():
    scale, zero_point = affine_params(torch.tensor(2.0), torch.tensor(5.1), UINT8)
    assert float(scale) == pytest.approx(0.02)
    assert int(zero_point) == 0


FINITE = st.floats(-1e4, 1e4, width=32)
SPECS = st.sampled_from([INT8, UINT8, ASYMMETRIC_INT8, QuantSpec(), QuantSpec(bits=4)])


@given(hnp.arrays("float32", st.integers(1, 40), elements=FINITE), SPECS)
def test_zero_is_exactly_on_every_grid(values, spec):
    x = torch.from_numpy(values)
    zero = torch.zeros(1)
    assert float(fake_quantize(zero, *params(x, spec), spec)) == 0


@given(hnp.arrays("float32", st.integers(1, 40), elements=FINITE), SPECS)
def test_the_round_trip_error_inside_the_range_is_at_most_half_a_step(values, spec):
    x = torch.from_numpy(values)
    scale, zero_point = params(x, spec)
    error = (fake_quantize(x, scale, zero_point, spec) - x).abs()
    # An asymmetric zero point is rounded too, so the ends of the range may lie half a step outside.
    steps = 0.5 if spec.symmetric else 1.0
    assert float(error.max()) <= float(scale) * (steps + 255 * 4 * FLOAT32_ROUNDING)


@given(hnp.arrays("float32", st.integers(1, 40), elements=FINITE), SPECS)
def test_fake_quantisation_is_idempotent_and_equals_quantise_then_dequantise(values, spec):
    x = torch.from_numpy(values)
    scale, zero_point = params(x, spec)
    once = fake_quantize(x, scale, zero_point, spec)
    assert torch.equal(fake_quantize(once, scale, zero_point, spec), once)
    integers = quantize(x, scale, zero_point, spec)
    assert torch.equal(dequantize(integers, scale, zero_point, spec), once)


SHORT = QuantSpec(scale_bits=4)


@given(hnp.arrays("float32", st.integers(1, 40), elements=FINITE))
def test_a_short_scale_has_four_significant_bits_and_is_at_most_an_eighth_larger(values):
    x = torch.from_numpy(values)
    (scale, _), (full, _) = params(x, SHORT), params(x, QuantSpec())
    mantissa = float(torch.frexp(scale)[0]) * 2**4
    assert mantissa == int(mantissa)
    assert float(full) <= float(scale) <= float(full) * (1 + 1 / 8) * (1 + FLOAT32_ROUNDING)


def test_with_short_scales_the_order_of_a_sum_does_not_matter():
    """Two runtimes that add up in another order once rounded an activation differently."""
    generator = torch.Generator().manual_seed(0)
    for weight_spec, activation_spec, exact in ((SHORT, SHORT, True), (INT8, QuantSpec(), False)):
        x, w = torch.rand(500, 96, generator=generator), torch.randn(96, generator=generator) / 10
        x = fake_quantize(x, *params(x, activation_spec), activation_spec)
        products = x * fake_quantize(w, *params(w, weight_spec), weight_spec)
        # numpy adds up in float32, one after the other; torch's cumsum would use float64.
        forwards = np.cumsum(products.numpy(), axis=1)[:, -1]
        backwards = np.cumsum(products.numpy()[:, ::-1], axis=1)[:, -1]
        assert np.array_equal(forwards, backwards) is exact
