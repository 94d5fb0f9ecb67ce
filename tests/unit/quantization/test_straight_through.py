"""The fast passes against the formulas written out, at the places where they could part."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchedge.quantization.functional import (
    dequantize,
    fake_quantize,
    fake_quantize_unclipped,
    quantize,
)
from torchedge.quantization.straight_through import covers, first_clipped
from torchedge.scheme import QuantSpec

SPECS = st.sampled_from(
    [
        QuantSpec(),
        QuantSpec(narrow=True),
        QuantSpec(symmetric=False),
        QuantSpec(symmetric=False, signed=False),
        QuantSpec(bits=2, narrow=True),
        QuantSpec(bits=4, symmetric=False),
    ]
)
SCALES = st.floats(2.0**-100, 2.0**100, width=32)


def neighbours(value, count=4):
    """The float32 numbers around ``value``, on both sides."""
    around = [np.float32(value)]
    for direction in (-np.inf, np.inf):
        number = np.float32(value)
        for _ in range(count):
            number = np.nextafter(number, np.float32(direction))
            around.append(number)
    return around


def ties(scale, zero_point, spec):
    """Numbers at and around every place where clipping begins or a rounding flips."""
    lower, upper = spec.quant_min - zero_point, spec.quant_max - zero_point
    halves = [lower - 0.5, lower + 0.5, -0.5, 0.5, 1.5, upper - 0.5, upper + 0.5]
    return torch.tensor([float(n) for half in halves for n in neighbours(half * scale)])


def written_out(x, scale, zero_point, spec):
    """Forward and mask of the definition, one operation after the other."""
    integers = torch.round(x / scale) + zero_point
    inside = (integers >= spec.quant_min) & (integers <= spec.quant_max)
    clipped = torch.clamp(integers, spec.quant_min, spec.quant_max)
    return (clipped - zero_point) * scale, inside


@given(SCALES, SPECS, st.integers(0, 255))
def test_values_and_gradients_at_every_tie_are_those_of_the_formula(scale, spec, position):
    """One pass with two bounds decides what is clipped; at the ties the bounds must be exact."""
    zero = 0 if spec.symmetric else spec.quant_min + position % (2**spec.bits)
    x = ties(scale, zero, spec).requires_grad_()
    scale_tensor, zero_point = torch.tensor(scale), torch.tensor(zero, dtype=torch.int32)
    y = fake_quantize(x, scale_tensor, zero_point, spec)
    y.sum().backward()
    expected, inside = written_out(x.detach(), scale_tensor, zero, spec)
    assert torch.equal(y.detach(), expected)
    assert torch.equal(x.grad, inside.float())
    integers = quantize(x.detach(), scale_tensor, zero_point, spec)
    assert torch.equal(dequantize(integers, scale_tensor, zero_point, spec), expected)


@given(SCALES, st.integers(-300, 300), st.sampled_from([-1, 1]))
def test_the_first_clipped_number_is_clipped_and_the_one_before_it_is_not(
    scale, integer, direction
):
    step = np.float32(scale)
    edge = np.float32(first_clipped(scale, integer, direction))
    before = np.nextafter(edge, np.float32(-direction * np.inf))
    assert direction * np.rint(edge / step) > direction * integer
    assert direction * np.rint(before / step) <= direction * integer


def test_the_largest_scale_has_no_clipped_number_to_step_to():
    assert first_clipped(3e38, 127, 1) == float("inf")


def test_rounding_divides_as_onnx_does_and_not_by_the_inverse():
    """torch's own operator multiplies by 1/scale, and lands on the next integer for some values."""
    scale = torch.tensor(0.0235)
    x = torch.cat([torch.tensor(neighbours(float(scale) * (k + 0.5))) for k in range(100)])
    spec = QuantSpec(symmetric=False, signed=False)
    ours = fake_quantize(x, scale, torch.tensor(0), spec)
    onnx = np.clip(np.rint(x.numpy() / np.float32(scale)), 0, 255) * np.float32(scale)
    assert np.array_equal(ours.numpy(), onnx)
    torchs = torch.fake_quantize_per_tensor_affine(x, float(scale), 0, 0, 255)
    assert not torch.equal(torchs, ours)


def test_away_from_ties_torchs_own_operator_agrees_in_value_and_gradient():
    scale, zero_point, spec = 0.0235, 7, QuantSpec(symmetric=False, signed=False)
    steps = torch.arange(-20, 280) - zero_point + 0.3 * torch.rand(300)
    ours, torchs = (steps.mul(scale).requires_grad_() for _ in range(2))
    y = fake_quantize(ours, torch.tensor(scale), torch.tensor(zero_point), spec)
    expected = torch.fake_quantize_per_tensor_affine(torchs, scale, zero_point, 0, 255)
    weights = torch.rand(300)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(y, expected, rtol=2.0**-23, atol=0)
    assert torch.equal(ours.grad, torchs.grad)
    assert 0 < int((ours.grad == 0).sum()) < 300


def test_per_channel_gradients_agree_with_torchs_own_operator():
    scale, spec = torch.tensor([0.01, 0.1, 1.0]), QuantSpec(axis=1)
    steps = (torch.arange(-140, 140) + 0.2).view(-1, 1)
    ours, torchs = ((steps * scale).requires_grad_() for _ in range(2))
    zeros = torch.zeros(3, dtype=torch.int32)
    fake_quantize(ours, scale, zeros, spec).sum().backward()
    torch.fake_quantize_per_channel_affine(torchs, scale, zeros, 1, -128, 127).sum().backward()
    assert torch.equal(ours.grad, torchs.grad)


def test_an_infinite_gradient_of_a_clipped_value_is_zero_and_not_nan():
    spec, scale = QuantSpec(axis=0), torch.tensor([1.0, 1.0])
    for axis_scale in (scale, scale[0]):
        x = torch.tensor([500.0, 1.0]).requires_grad_()
        zero_point = torch.zeros_like(axis_scale, dtype=torch.int32)
        y = fake_quantize(x, axis_scale, zero_point, spec if axis_scale.ndim else QuantSpec())
        y.backward(torch.full_like(x, torch.inf))
        assert x.grad.tolist() == [0, torch.inf]


@pytest.mark.parametrize(("high", "covered"), [(7.5, False), (7.4999995, True), (9.0, False)])
def test_a_range_is_covered_until_its_end_rounds_beyond_the_grid(high, covered):
    """7.5 is half way between 7 and 8, and rounds to the even 8."""
    one, zero = torch.tensor(1.0), torch.tensor(0)
    assert covers(-one, torch.tensor(high), one, zero, -8, 7) is covered
    assert covers(-torch.tensor(high), one, one, zero, -7, 7) is covered


def test_where_nothing_is_clipped_the_gradient_passes_and_the_input_is_not_kept():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        x = torch.randn(100).requires_grad_()
        scale, zero_point = torch.tensor(0.05), torch.tensor(0)
        y = fake_quantize_unclipped(x, scale, zero_point, QuantSpec())
    assert not kept
    y.backward(weights := torch.randn(100))
    assert torch.equal(x.grad, weights)
    assert torch.equal(y, fake_quantize(x, scale, zero_point, QuantSpec()))


def test_only_the_input_and_the_grid_are_kept_for_the_backward_pass():
    """Five intermediate tensors once doubled the memory of a step."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        x = torch.randn(1000).requires_grad_()
        fake_quantize(x, torch.tensor(0.01), torch.tensor(0), QuantSpec())
    assert sorted(tensor.numel() for tensor in kept) == [1, 1, 1000]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_the_same_values_and_gradients():
    x = torch.randn(4096)
    spec, scale = QuantSpec(symmetric=False, signed=False), torch.tensor(0.01)
    results = []
    for device in ("cpu", "cuda"):
        leaf = x.to(device).requires_grad_()
        zero_point = torch.tensor(100, device=device)
        y = fake_quantize(leaf, scale.to(device), zero_point, spec)
        y.sum().backward()
        results.append((y.detach().cpu(), leaf.grad.cpu()))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
