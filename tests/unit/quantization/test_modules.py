import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from torchedge.errors import CalibrationError
from torchedge.quantization.functional import fake_quantize, weight_params
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.scheme import QuantSpec

WEIGHT = QuantSpec(axis=0, narrow=True)
FLOAT32_ROUNDING = 2.0**-24


def conv_and_norm():
    conv, norm = nn.Conv2d(3, 6, 3, bias=True), nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return conv, norm


def test_the_first_batch_sets_the_range_and_later_ones_move_it_by_their_share():
    quantizer = FakeQuantize(QuantSpec(), averaging=0.1)
    quantizer(torch.tensor([-1.0, 2.0]))
    quantizer(torch.tensor([-3.0, 12.0]))
    assert float(quantizer.low) == pytest.approx(-1.2)
    assert float(quantizer.high) == pytest.approx(3.0)
    assert float(quantizer.scale) == pytest.approx(3.0 / 127)


def test_evaluation_never_moves_the_range():
    quantizer = FakeQuantize(QuantSpec())
    quantizer(torch.tensor([1.0]))
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer.eval()(torch.tensor([100.0]))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_a_quantiser_without_data_is_refused_by_name():
    with pytest.raises(CalibrationError, match=r"'quantizers\.x'"):
        FakeQuantize(QuantSpec()).require_calibrated("quantizers.x")


def test_with_quantisation_off_the_folded_layer_equals_layer_and_norm_in_evaluation():
    conv, norm = conv_and_norm()
    x = torch.randn(4, 3, 9, 9)
    expected = norm.eval()(conv(x)).detach()
    quantized = QuantizedLayer(conv, WEIGHT, norm).eval()
    quantized.enabled = False
    tolerance = 4 * 27 * FLOAT32_ROUNDING * float(expected.abs().max() + 10)
    torch.testing.assert_close(quantized(x), expected, atol=tolerance, rtol=0)


def test_with_quantisation_off_training_equals_layer_and_norm_statistics_included():
    conv, norm = conv_and_norm()
    x = torch.randn(4, 3, 9, 9)
    twin = nn.BatchNorm2d(6)
    twin.load_state_dict(norm.state_dict())
    expected = twin.train()(conv(x)).detach()
    quantized = QuantizedLayer(conv, WEIGHT, norm).train()
    quantized.enabled = False
    # Normalising divides rounding errors by σ, which the initialisation keeps above 0.1.
    tolerance = 10 * 4 * 27 * FLOAT32_ROUNDING * float(expected.abs().max() + 10)
    torch.testing.assert_close(quantized(x), expected, atol=tolerance, rtol=0)
    torch.testing.assert_close(norm.running_var, twin.running_var)
    torch.testing.assert_close(norm.running_mean, twin.running_mean)


def test_evaluation_uses_the_folded_weight_on_its_grid():
    conv, norm = conv_and_norm()
    quantized = QuantizedLayer(conv, WEIGHT, norm).eval()
    x = torch.randn(1, 3, 5, 5)
    weight, bias = quantized.folded()
    on_grid = fake_quantize(weight, *weight_params(weight, WEIGHT), WEIGHT)
    assert torch.equal(quantized(x), nn.functional.conv2d(x, on_grid, bias))


def test_a_frozen_batch_norm_keeps_its_statistics_in_training_and_still_learns():
    conv, norm = conv_and_norm()
    quantized = QuantizedLayer(conv, WEIGHT, norm).train()
    quantized.batchnorm_frozen = True
    before = norm.running_mean.clone()
    quantized(torch.randn(4, 3, 9, 9)).sum().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.weight.grad is not None
    assert float(norm.bias.grad.abs().sum()) > 0


def test_a_dead_channel_trains_to_its_bias_and_not_to_nan():
    conv, norm = conv_and_norm()
    with torch.no_grad():
        norm.weight[2] = 0
    quantized = QuantizedLayer(conv, WEIGHT, norm).train()
    y = quantized(torch.randn(4, 3, 9, 9))
    torch.testing.assert_close(y[:, 2], norm.bias[2].expand_as(y[:, 2]))
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in quantized.parameters())


class Halved(nn.Module):
    def forward(self, weight):
        mask = torch.zeros_like(weight)
        mask[::2] = 1
        return weight * mask


def test_a_masked_weight_is_quantised_with_its_mask():
    conv = nn.Conv2d(3, 6, 3)
    parametrize.register_parametrization(conv, "weight", Halved())
    y = QuantizedLayer(conv, WEIGHT).eval()(torch.randn(1, 3, 5, 5))
    assert torch.equal(y[:, 1], conv.bias[1].expand_as(y[:, 1]))


@pytest.mark.parametrize("layer", [nn.Conv1d(2, 4, 3), nn.Conv3d(2, 4, 3), nn.Linear(5, 4)])
def test_other_layers_keep_their_own_arithmetic(layer):
    shape = {nn.Conv1d: (1, 2, 7), nn.Conv3d: (1, 2, 5, 5, 5), nn.Linear: (3, 5)}[type(layer)]
    x = torch.randn(shape)
    quantized = QuantizedLayer(layer, WEIGHT)
    quantized.enabled = False
    assert torch.equal(quantized(x), layer(x))
