import pytest
import torch
from torch import nn

from torchedge import exporting
from torchedge.errors import CalibrationError, SchemeError, WeightError
from torchedge.quantization import (
    FakeQuantize,
    QuantizedLayer,
    calibrate,
    describe,
    entropy,
    minmax,
    prepare_qat,
)
from torchedge.scheme import QuantScheme

ONNX = exporting.target("onnx-cpu").scheme
TENSORRT = exporting.target("jetson").scheme


def quantized_tensors(model):
    """Names of the graph nodes whose results pass through a quantiser."""
    return {
        name.removeprefix("quantizers.") for name, m in model.named_modules() if is_quantizer(m)
    }


def is_quantizer(module):
    return isinstance(module, FakeQuantize)


def readers(model, tensor):
    quantizer = next(n for n in model.graph.nodes if n.target == f"quantizers.{tensor}")
    return {node.name for node in quantizer.users}


def test_preparing_leaves_the_model_as_it_was(net, images):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prepared = prepare_qat(net, ONNX, (images[:1],))
    for parameter in prepared.parameters():
        nn.init.zeros_(parameter)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_with_quantisers_off_the_prepared_model_computes_what_the_float_model_did(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],)).eval()
    for module in prepared.modules():
        if isinstance(module, FakeQuantize | QuantizedLayer):
            module.enabled = False
    torch.testing.assert_close(prepared(images), net(images), atol=1e-5, rtol=1e-5)


def test_every_batch_norm_after_a_layer_is_folded(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    layers = {name: m for name, m in prepared.named_modules() if isinstance(m, QuantizedLayer)}
    assert set(layers) == {"stem.0", "depthwise", "project", "classifier"}
    folded = {name for name, layer in layers.items() if layer.batchnorm is not None}
    assert folded == {"stem.0", "depthwise"}


def test_a_folded_batch_norm_is_in_the_state_once(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    names = [name for name in prepared.state_dict() if name.endswith("running_mean")]
    assert names == ["stem.0.batchnorm.running_mean", "depthwise.batchnorm.running_mean"]


def test_onnx_runtime_has_a_quantiser_on_every_tensor_but_inside_fusions(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    # ReLU runs inside the operation before it; max pool and flatten keep their input's scale.
    expected = {"x", "stem_2", "relu", "project", "relu_1", "pool", "classifier"}
    assert quantized_tensors(prepared) == expected


def test_tensorrt_has_quantisers_on_inputs_of_layers_on_the_skip_and_before_the_average(
    net, images
):
    prepared = prepare_qat(net, TENSORRT, (images[:1],))
    expected = {"x", "stem_2", "relu", "max_pool2d", "flatten"}
    assert quantized_tensors(prepared) == expected
    assert readers(prepared, "stem_2") == {"depthwise", "add"}


def test_tensorrt_keeps_the_convolution_branch_of_an_addition_in_float(net, images):
    prepared = prepare_qat(net, TENSORRT, (images[:1],))
    add = next(node for node in prepared.graph.nodes if node.name == "add")
    assert [argument.name for argument in add.args] == ["quantizers_stem_2", "project"]


class Projected(nn.Module):
    """A residual whose shortcut is a convolution too, written before and after the main branch."""

    def __init__(self, shortcut_first):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(4, 4, 1)
        self.shortcut_first = shortcut_first

    def forward(self, x):
        x = torch.relu(self.stem(x))
        if self.shortcut_first:
            skip = self.shortcut(x)
            return torch.relu(self.second(torch.relu(self.first(x))) + skip)
        main = self.second(torch.relu(self.first(x)))
        return torch.relu(main + self.shortcut(x))


@pytest.mark.parametrize("shortcut_first", [True, False])
def test_of_two_convolutions_that_are_added_the_shortcut_is_quantised(shortcut_first, images):
    prepared = prepare_qat(Projected(shortcut_first), TENSORRT, (images[:1],))
    assert "shortcut" in quantized_tensors(prepared)
    assert "second" not in quantized_tensors(prepared)


class SharedConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(torch.relu(self.conv(x)))


def test_a_layer_called_twice_shares_its_weight_but_not_its_activation_ranges(images):
    prepared = prepare_qat(SharedConvolution(), ONNX, (images[:1],))
    assert sum(isinstance(m, QuantizedLayer) for m in prepared.modules()) == 1
    assert len(quantized_tensors(prepared)) == 3
    prepared(images)


def test_an_operation_without_integer_form_stays_float_and_is_listed(images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Conv2d(2, 2, 3))
    rows = describe(prepare_qat(model, ONNX, (images[:1],)))
    assert [(row.kind, row.integer_input) for row in rows] == [
        ("conv", True),
        ("nonlinear", True),
        ("conv", True),
    ]


def test_calibration_does_not_touch_the_model_it_is_given(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    calibrate(prepared, [images], minmax)
    assert not any(m.calibrated for m in prepared.modules() if is_quantizer(m))


def test_calibration_does_not_depend_on_the_batch_size(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    whole, parts = (calibrate(prepared, images.split(size), minmax) for size in (32, 5))
    # Convolutions of other batch sizes may add up in another order: the last bits differ.
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_min_max_calibration_sets_the_extremes_seen_with_quantised_weights(net, images):
    calibrated = calibrate(prepare_qat(net, ONNX, (images[:1],)), images.split(8), minmax)
    seen = nn.functional.relu6(calibrated.get_submodule("stem.0")(images)).detach()
    assert float(calibrated.quantizers.stem_2.high) == pytest.approx(float(seen.max()), rel=1e-5)


def test_an_empty_calibration_set_is_refused(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    with pytest.raises(CalibrationError, match="calibration set is empty"):
        calibrate(prepared, [])


def test_nan_in_the_calibration_data_names_the_batch(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    with pytest.raises(CalibrationError, match="values of calibration batch 0 are NaN"):
        calibrate(prepared, [torch.full_like(images, float("nan"))], entropy)


def test_nan_weights_are_refused_by_name(net, images):
    with torch.no_grad():
        net.project.weight[0, 0] = float("nan")
    with pytest.raises(WeightError, match=r"'project\.weight' holds 1 NaN"):
        prepare_qat(net, ONNX, (images[:1],))


def test_preparing_twice_is_refused(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    with pytest.raises(SchemeError, match="already"):
        prepare_qat(prepared, ONNX, (images[:1],))


def test_quantisation_keeps_the_answers_close(net, images):
    for scheme in (ONNX, TENSORRT, QuantScheme()):
        prepared = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax).eval()
        expected, found = net(images).detach(), prepared(images).detach()
        noise = 10 * torch.log10(expected.var() / (expected - found).pow(2).mean())
        # 8 bits give about 6 dB a bit for one tensor; half of that must be left after ten of them.
        assert float(noise) > 24


def test_indices_are_not_quantised_but_what_is_looked_up_for_them_is():
    net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    indices = torch.tensor([[1, 2, 3]])
    model = calibrate(prepare_qat(net, ONNX, (indices,)), [indices], minmax)
    assert [row.integer_input for row in describe(model)] == [False, True]
    torch.testing.assert_close(model(indices), net(indices), atol=0.05, rtol=0)
