"""Layers whose weight is computed from parameters: standardised, sliced, normalised, generated."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchedge.backends import ONNX_RUNTIME, TFLITE
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.graph.computed import computed_weight
from torchedge.graph.trace import trace
from torchedge.quantization import calibrate, describe, minmax, prepare_qat
from torchedge.quantization.recovery import quantize


class Standardised(nn.Conv2d):
    """Filters of mean 0 and variance 1 with a gain each (Qiao et al. 2019)."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.gain = nn.Parameter(torch.rand(self.out_channels) + 0.5)

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, self.gain * 0.2, training=True, momentum=0.0)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias, padding=self.padding)


class Sliced(nn.Linear):
    """The first outputs alone."""

    def forward(self, x):
        return F.linear(x, self.weight[:3], self.bias[:3])


class Generated(nn.Module):
    """An outer product of two vectors."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.left = nn.Parameter(torch.randn(outputs))
        self.right = nn.Parameter(torch.randn(inputs))

    def forward(self, x):
        return F.linear(x, torch.outer(self.left, self.right))


class OfTheInput(nn.Module):
    """A filter that every picture chooses for itself."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(F.conv2d(x, self.weight * x.mean()))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        *(Standardised(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(Standardised(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(Generated(4, 5), nn.ReLU(), Sliced(5, 6)),
    ).eval()


def pictures(count=8):
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scheme", [ONNX_RUNTIME, TFLITE])
def test_they_are_layers_on_integers_like_any_other(scheme):
    prepared = prepare_qat(network(), scheme, pictures(1))
    weighted = [o for o in describe(prepared) if o.kind in {"conv", "linear"}]
    assert [(o.kind, o.weight_bits, o.float_reason) for o in weighted] == [
        *(("conv", 8, ""), ("conv", 8, "")),
        *(("linear", 8, ""), ("linear", 8, "")),
    ]
    assert [o.name for o in describe(prepared) if o.float_reason] == []


def test_training_moves_what_the_weights_are_computed_from():
    prepared = calibrate(prepare_qat(network(), TFLITE, pictures(1)), [pictures()], minmax)
    prepared.train()
    prepared(pictures()).square().sum().backward()
    trained = {name: p.grad for name, p in prepared.named_parameters()}
    assert all(gradient is not None for gradient in trained.values())
    gains = [name for name in trained if "gain" in name]
    assert len(gains) == 2
    assert all(float(trained[name].abs().max()) > 0 for name in gains)
    before = [layer.weight.detach().clone() for layer in _layers(prepared)]
    torch.optim.SGD(prepared.parameters(), 0.1).step()
    after = [layer.weight.detach() for layer in _layers(prepared)]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _layers(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_the_saved_network_answers_as_the_float_one_to_a_few_steps(tmp_path):
    model, x = network(), pictures()
    prepared = calibrate(prepare_qat(model, TFLITE, x[:1]), [x], minmax)
    saved = CompressedModel(
        module=prepared, example_inputs=(x[:1],), samples=(x,), scheme=TFLITE
    ).save(tmp_path / "torch")
    with TorchRunner().open(saved) as session:
        found = torch.cat([torch.from_numpy(session(row[None].numpy())[0]) for row in x])
    wanted = model(x).detach()
    noise = (found - wanted).square().mean() / wanted.square().mean()
    assert float(noise) < 0.01


def test_the_users_network_is_left_as_it_was():
    model = network()
    before = copy.deepcopy(model.state_dict())
    prepare_qat(model, TFLITE, pictures(1))
    assert {k: v.tolist() for k, v in model.state_dict().items()} == {
        k: v.tolist() for k, v in before.items()
    }


def test_a_weight_that_depends_on_the_input_stays_in_floats_and_is_named():
    torch.manual_seed(0)
    prepared = prepare_qat(OfTheInput().eval(), TFLITE, pictures(1))
    floats = [o.name for o in describe(prepared) if o.kind == "float" and "conv2d" in o.name]
    assert floats == ["conv2d"]


def test_the_parameter_with_the_most_numbers_is_the_original_and_the_function_gives_the_weight():
    graph_module = trace(network(), (pictures(1),))
    node = next(n for n in graph_module.graph.nodes if n.target is F.conv2d)
    computed = computed_weight(node.args[1], graph_module)
    assert computed is not None
    assert computed.original is graph_module.get_parameter("0.weight")
    rows = computed.original.reshape(8, -1)
    deviation = (rows.var(1, unbiased=False) + 1e-5).sqrt()[:, None]
    gain = graph_module.get_parameter("0.gain")[:, None] * 0.2
    by_hand = (rows - rows.mean(1, keepdim=True)) / deviation * gain
    torch.testing.assert_close(computed.value.reshape(8, -1), by_hand.detach())


class Tied(nn.Module):
    """A decoder with the encoder's weight, turned round or as it is."""

    def __init__(self, turned):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.turned = nn.Linear(6, 6 if not turned else 4), turned

    def forward(self, x):
        weight = self.encoder.weight
        return F.linear(self.encoder(x).relu(), weight.t() if self.turned else weight)


@pytest.mark.parametrize("turned", [False, True])
def test_a_weight_that_a_layer_and_a_function_share_is_trained_as_one(turned):
    model, x = Tied(turned).eval(), torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    prepared = calibrate(prepare_qat(model, TFLITE, x[:1]), [x], minmax)
    weighted = [o for o in describe(prepared) if o.kind == "linear"]
    assert [o.weight_bits for o in weighted] == [8, 8]
    noise = (prepared(x) - model(x)).square().mean() / model(x).square().mean()
    assert noise.item() < 0.01
    layers = [m for m in prepared.modules() if isinstance(m, nn.Linear)]
    prepared.train()
    prepared(x).square().sum().backward()
    torch.optim.SGD(prepared.parameters(), 0.1).step()
    first, second = (layer.weight.detach() for layer in layers)
    torch.testing.assert_close(first, second.t() if turned else second)


@pytest.mark.filterwarnings("ignore:the range clips")  # of some sixty rows
def test_equalising_leaves_a_shared_weight_s_network_what_it_is():
    model, x = Tied(turned=True).eval(), torch.randn(64, 6)
    quantized = quantize(model, TFLITE, [x[:32], x[32:]], effort="balanced")
    noise = (quantized(x) - model(x)).square().mean() / model(x).square().mean()
    assert noise.item() < 0.01
