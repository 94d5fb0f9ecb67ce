from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from torchedge import exporting
from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization import (
    QuantizedLayer,
    QuantSpec,
    calibrate,
    freeze,
    minmax,
    prepare_qat,
)
from torchedge.quantization.diagnostics import with_bits
from torchedge.quantization.freeze import FrozenFakeQuantize, FrozenLayer
from torchedge.quantization.operator import fake_quantize_operator

ONNX = exporting.target("onnx-cpu").scheme
TENSORRT = exporting.target("jetson").scheme


def calibrated(net, images, scheme):
    return calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax).eval()


@pytest.mark.parametrize("scheme", [ONNX, TENSORRT])
def test_the_frozen_model_computes_what_the_live_one_does(net, images, scheme):
    live = calibrated(net, images, scheme)
    frozen = freeze(live)
    torch.testing.assert_close(frozen(images), live(images).detach(), atol=1e-6, rtol=1e-6)


def test_integer_biases_move_the_output_by_at_most_one_step(net, images):
    live = calibrated(net, images, ONNX)
    frozen = freeze(live, bias="int32")
    step = float(live.quantizers.classifier.scale)
    difference = (frozen(images) - live(images)).detach().abs()
    assert float(difference.max()) <= 1.001 * step


def test_frozen_weights_are_integers_times_their_scale(net, images):
    frozen = freeze(calibrated(net, images, ONNX))
    for layer in (m for m in frozen.modules() if isinstance(m, FrozenLayer)):
        scale = layer.weight_quantizer.scale
        steps = layer.layer.weight / scale.view(-1, *[1] * (layer.layer.weight.ndim - 1))
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
        assert float(steps.abs().max()) <= 127.001


def test_a_bias_too_large_for_int32_gets_a_larger_weight_scale():
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1e-7, 1e-7], [1.0, 1.0]]))
        model[0].bias.copy_(torch.tensor([50.0, 1.0]))
    x = torch.rand(4, 2)
    frozen = freeze(calibrated(model, x, ONNX), bias="int32")
    quantizer = frozen.get_submodule("0").bias_quantizer
    assert float((50 / quantizer.scale[0]).abs()) <= 2**30 * 1.001
    step = float(frozen.quantizers.get_submodule("_0").scale)
    torch.testing.assert_close(frozen(x), model(x).detach(), atol=2 * step, rtol=0)


def test_the_operator_equals_a_hand_made_case():
    x = torch.tensor([[0.26, -9.0], [0.8, 9.0]])
    scale, zero = torch.tensor([0.5, 0.25]), torch.tensor([0, 3], dtype=torch.int8)
    found = fake_quantize_operator(x, scale, zero, 0, -4, 3)
    assert found.tolist() == [[0.5, -2.0], [0.0, 0.0]]


def test_the_operator_passes_torchs_own_checks():
    arguments = (torch.randn(2, 3), torch.rand(2), torch.zeros(2, dtype=torch.int8), 0, -128, 127)
    torch.library.opcheck(
        fake_quantize_operator, arguments, test_utils=("test_schema", "test_faketensor")
    )


def test_freezing_before_calibration_names_the_quantiser(net, images):
    with pytest.raises(CalibrationError, match=r"'quantizers\.x'"):
        freeze(prepare_qat(net, ONNX, (images[:1],)))


def test_a_float_model_cannot_be_frozen(net):
    with pytest.raises(SchemeError, match="prepare_qat"):
        freeze(net)


def test_nothing_of_a_frozen_model_needs_a_gradient(net, images):
    frozen = freeze(calibrated(net, images, TENSORRT))
    assert not any(p.requires_grad for p in frozen.parameters())
    assert sum(isinstance(m, FrozenFakeQuantize) for m in frozen.quantizers.children()) == 5


class Masked(nn.Module):
    def forward(self, weight):
        return weight * (weight.abs() > 0.05)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_pruning_mask_survives_freezing_and_the_model_goes_on_working(net, images, when):
    """Removing the mask from a copy once broke the model it was copied from."""
    if when == "before":
        parametrize.register_parametrization(net.project, "weight", Masked())
    model = calibrated(net, images, ONNX)
    layer = model.get_submodule("project").layer
    if when == "after":
        parametrize.register_parametrization(layer, "weight", Masked())
    expected = model(images).detach()
    frozen = freeze(model)
    torch.testing.assert_close(frozen(images), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model(images).detach(), expected)
    assert (frozen.get_submodule("project").layer.weight == 0).any()


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(100 * torch.relu(self.conv(x)))


def test_a_layer_called_twice_gets_a_bias_for_each_of_its_input_scales(images):
    model = calibrated(CalledTwice(), images, ONNX)
    frozen = freeze(model, bias="int32")
    layers = [m for m in frozen.modules() if isinstance(m, FrozenLayer)]
    scales = [float(layer.bias_quantizer.scale[0]) for layer in layers]
    assert len(scales) == 2
    assert scales[1] > 10 * scales[0]
    step = float(model.quantizers.conv_1.scale)
    torch.testing.assert_close(frozen(images), model(images).detach(), atol=1.001 * step, rtol=0)


def test_float_biases_on_the_grid_are_multiples_of_the_product_of_the_scales(net, images):
    model = calibrated(net, images, TENSORRT)
    frozen = freeze(model, bias="float_on_grid")
    layer = frozen.get_submodule("classifier")
    grid = frozen.quantizers.flatten.scale * layer.weight_quantizer.scale
    steps = layer.layer.bias / grid
    assert torch.equal(steps, steps.round())
    assert layer.bias_quantizer is None
    torch.testing.assert_close(frozen(images), model(images).detach(), atol=0.02, rtol=0)


def test_a_layer_kept_in_float_is_frozen_in_float_with_its_input(images):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sigmoid(), nn.Conv2d(2, 2, 1))
    model = with_bits(calibrated(net.eval(), images, TENSORRT), {"3": 32})
    frozen = freeze(model, bias="float_on_grid")
    assert isinstance(frozen.get_submodule("3"), nn.Conv2d)
    assert isinstance(frozen.get_submodule("0"), FrozenLayer)
    assert sum(isinstance(m, FrozenFakeQuantize) for m in frozen.modules()) == 2  # of layer 0
    torch.testing.assert_close(frozen.get_submodule("3").weight.detach(), net[3].weight.detach())


def test_a_model_whose_quantisation_is_still_switched_off_is_not_frozen(net, images):
    model = calibrated(net, images, ONNX)
    for module in model.modules():
        if isinstance(module, QuantizedLayer):
            module.enabled = False
    with pytest.raises(SchemeError, match=r"'stem.0'.*switched off.*with_bits"):
        freeze(model)


def test_weights_in_groups_are_not_frozen_but_named_with_the_way_out(net, images):
    grouped = replace(ONNX, weight=QuantSpec(bits=4, axis=0, narrow=True, group_size=2))
    with pytest.raises(SchemeError, match=r"groups of 2.*without group_size"):
        freeze(calibrated(net, images, grouped))
