import pytest
import torch
from torch import nn

from torchedge import exporting
from torchedge.errors import CalibrationError, SchemeError, UnknownNameError, WeightError
from torchedge.quantization import calibrate, entropy, minmax, mse, prepare_qat
from torchedge.quantization.diagnostics import lint_calibration, requantize, sensitivity
from torchedge.quantization.modules import FakeQuantize, without_quantization
from torchedge.quantization.names import rule_of, scheme_of
from torchedge.quantization.recovery import correct_biases, equalize, quantize
from torchedge.scheme import QuantScheme

X = torch.rand(16, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 2


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


@pytest.mark.parametrize("name", ["jetson", "onnx-cpu", "android"])
def test_a_target_its_name_and_its_scheme_are_one_scheme(name):
    target = exporting.target(name)
    assert scheme_of(name) == scheme_of(target) == scheme_of(target.scheme) == target.scheme


@pytest.mark.parametrize("given", [None, 8, "int8", {"bits": 8}, QuantScheme])
def test_what_is_no_scheme_is_refused_with_what_to_pass(given):
    with pytest.raises((SchemeError, UnknownNameError), match="target"):
        scheme_of(given)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("minmax", minmax), ("MinMax", minmax), ("min-max", minmax), ("mse", mse), ("KL", entropy)],
)
def test_a_rule_has_a_name(name, rule):
    assert rule_of(name) is rule_of(rule) is rule


def test_a_percentile_by_name_is_applied(net):
    prepared = prepare_qat(net, "onnx-cpu", X)
    assert calibrate(prepared, X, "percentile")(X).shape == (16, 2)


@pytest.mark.parametrize("rule", ["best", "", None, 99.9])
def test_what_is_no_rule_is_refused_with_the_names_there_are(net, rule):
    with pytest.raises((UnknownNameError, SchemeError), match="entropy, minmax, mse, percentile"):
        calibrate(prepare_qat(net, "onnx-cpu", X), X, rule)


def test_everything_that_takes_batches_takes_a_loader_with_labels(net):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 8)
    model = calibrate(prepare_qat(net, "onnx-cpu", X), loader, "minmax")
    plain = calibrate(prepare_qat(net, exporting.target("onnx-cpu").scheme, (X,)), [X], minmax)
    assert torch.equal(model(X), plain(X))
    assert torch.equal(correct_biases(model, loader)(X), correct_biases(model, X.split(8))(X))
    assert requantize(model, "jetson", loader).model(X).shape == (16, 2)
    assert equalize(net, X, batches=loader, scheme="jetson")(X).shape == (16, 2)
    assert isinstance(lint_calibration(loader), tuple)


def test_labels_of_a_loader_reach_the_loss_of_a_sensitivity(net):
    model = calibrate(prepare_qat(net, "onnx-cpu", X), X, "minmax")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 8)
    seen = []

    def loss(output, labels):
        seen.append(labels)
        return nn.functional.cross_entropy(output, labels)

    found = sensitivity(model, loader, metric=loss, bits=(4,))
    assert len(found) == 2
    assert torch.equal(seen[0], Y[:8])


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, left, right):
        return self.a(left) + self.b(right)


def test_networks_with_several_inputs_are_calibrated_on_pairs():
    prepared = prepare_qat(Two(), "onnx-cpu", (X[:1], X[:1]))
    model = calibrate(prepared, [(X, 3 * X)], "minmax")
    scales = {n: float(m.scale) for n, m in model.named_modules() if isinstance(m, FakeQuantize)}
    assert scales["quantizers.right"] == pytest.approx(3 * scales["quantizers.left"])
    with pytest.raises(CalibrationError, match="takes 'left', 'right'"):
        calibrate(prepared, X)


def test_one_tensor_for_a_network_of_two_inputs_is_refused_by_their_names():
    with pytest.raises(CalibrationError, match="the network takes 'left', 'right'"):
        quantize(Two(), "onnx-cpu", X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_of_another_float_are_refused_with_the_call_that_helps(net, dtype):
    for call in (
        lambda: quantize(net.to(dtype), "onnx-cpu", X),
        lambda: prepare_qat(net.to(dtype), "onnx-cpu", X.to(dtype)),
    ):
        with pytest.raises(WeightError, match=r"call model.float\(\) first"):
            call()


class Ours(nn.Module):
    """Attributes and modules with the names that fake quantisation uses."""

    def __init__(self):
        super().__init__()
        self.quantizers = nn.ModuleDict({"input_1": nn.Linear(8, 8)})
        self.observer, self.layer, self.spec = nn.Linear(8, 8), nn.Linear(8, 2), "mine"
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("zero_point", torch.tensor(1.0))

    def forward(self, x):
        return self.layer(
            self.observer(self.quantizers["input_1"](x) * self.scale) + self.zero_point
        )


def test_modules_with_our_names_are_left_alone():
    net = Ours().eval()
    model = quantize(net, "onnx-cpu", X, effort="fast")
    names = dict(model.named_modules())
    assert {"quantizers.input_1", "observer", "layer"} <= set(names)
    off = without_quantization(prepare_qat(net, "onnx-cpu", X))
    torch.testing.assert_close(off(X), net(X))


def test_layers_of_torchs_own_quantisation_are_refused(net):
    layer = type("Linear", (nn.Linear,), {"__module__": "torch.ao.nn.quantized.dynamic"})(2, 2)
    with pytest.raises(SchemeError, match=r"'1' is a Linear, which torch\.ao has quantised"):
        prepare_qat(nn.Sequential(net, layer), "onnx-cpu", X)
