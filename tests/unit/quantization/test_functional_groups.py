"""Grouped scales against one tensor a group, and what a spec with groups says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchedge.errors import SchemeError
from torchedge.quantization.functional import (
    dequantize,
    fake_quantize,
    quantize,
    weight_params,
)
from torchedge.quantization.modules import QuantizedLayer
from torchedge.scheme import QuantScheme, QuantSpec


def one_tensor_a_group(weight, spec):
    """Each group on its own, with one scale for the whole of it."""
    alone = QuantSpec(bits=spec.bits, narrow=spec.narrow)
    result = torch.empty_like(weight)
    outputs, inputs = (0, 1) if spec.axis == 0 else (1, 0)
    for channel in range(weight.shape[outputs]):
        row, out = weight.select(outputs, channel), result.select(outputs, channel)
        for begin in range(0, weight.shape[inputs], spec.group_size):
            group = row[begin : begin + spec.group_size]
            out[begin : begin + spec.group_size] = fake_quantize(
                group, *weight_params(group, alone), alone
            )
    return result


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    st.sampled_from([(), (1,), (3, 3)]),
    st.integers(1, 10),
    st.sampled_from([0, 1]),
)
def test_a_grouped_weight_equals_its_groups_quantised_one_by_one(channels, kernel, size, axis):
    weight = torch.randn(*channels, *kernel, generator=torch.Generator().manual_seed(0))
    spec = QuantSpec(bits=4, narrow=True, axis=axis, group_size=size)
    scale, zero_point = weight_params(weight, spec)
    outputs, inputs = channels if axis == 0 else channels[::-1]
    assert scale.shape == (outputs, -(-inputs // size))
    expected = one_tensor_a_group(weight, spec)
    assert torch.equal(fake_quantize(weight, scale, zero_point, spec), expected)
    integers = quantize(weight, scale, zero_point, spec)
    assert int(integers.abs().max()) <= 7
    assert torch.equal(dequantize(integers, scale, zero_point, spec), expected)


def test_groups_follow_the_spread_of_the_weight_more_closely_than_a_channel():
    """Inputs of very different size: one scale for all leaves the small ones no integer."""
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    weight[:, :32] *= 0.01
    errors = []
    for size in (None, 32):
        spec = QuantSpec(bits=4, narrow=True, axis=0, group_size=size)
        errors.append((fake_quantize(weight, *weight_params(weight, spec), spec) - weight)[:, :32])
    assert float(errors[1].square().mean()) < float(errors[0].square().mean()) / 10


def test_every_gradient_of_a_grouped_layer_passes():
    layer = QuantizedLayer(
        nn.Conv2d(6, 4, 3), QuantSpec(bits=4, narrow=True, axis=0, group_size=4), nn.BatchNorm2d(4)
    )
    x = torch.randn(2, 6, 8, 8)
    assert layer.params(layer.folded()[0])[0].shape == (4, 2)
    layer.train()(x).square().sum().backward()
    assert bool((layer.layer.weight.grad != 0).all())


def test_a_spec_with_groups_survives_the_manifest_and_says_so():
    spec = QuantSpec(bits=4, narrow=True, axis=0, group_size=32)
    scheme = QuantScheme(weight=spec)
    assert QuantScheme.from_dict(scheme.to_dict()) == scheme
    assert str(spec) == "int4, symmetric, narrow, per channel of axis 0, in groups of 32"


@pytest.mark.parametrize(
    "fields", [{"group_size": 0, "axis": 0}, {"group_size": 8}, {"group_size": 8, "axis": 2}]
)
def test_groups_without_size_or_channel_axis_are_refused(fields):
    with pytest.raises(SchemeError, match=r"group"):
        QuantSpec(**fields)
