"""A float network teaches its quantised copy."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.unit.distillation.networks import convolutional, samples, trainer
from torchedge.backends import ONNX_RUNTIME
from torchedge.distillation.functional import hinton_loss
from torchedge.distillation.quantized import QuantizedStudent, self_distillation
from torchedge.errors import DistillationError
from torchedge.quantization import FakeQuantize, QuantizedLayer
from torchedge.quantization.recovery import Recovery, quantize

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
]
PLAIN = Recovery(equalize=False, weight_scales=False, rounding=False, biases=False)


def original():
    """With statistics of its data, so that it is a network and not noise."""
    net = convolutional(8)
    net[1].momentum = None
    net.train()(samples(64)[0])
    return net.eval()


def quantized(net):
    return quantize(net, ONNX_RUNTIME, [samples(64)[0]], effort=PLAIN)


@torch.no_grad()
def distance(model, net):
    images = samples(64, seed=1)[0]
    return float(hinton_loss(model.eval()(images), net.eval()(images), 1.0))


def test_the_copy_comes_nearer_to_its_original_without_labels():
    net = original()
    model = quantized(net)
    with torch.no_grad():
        model.get_submodule("0").layer.bias += 0.2  # what a careless calibration might cost
    before = distance(model, net)
    images, _ = samples(64)
    trainer(max_epochs=20).fit(self_distillation(model, net), DataLoader(images, 16))
    assert distance(model, net) < before / 2


@pytest.mark.parametrize("trained", ["biases", "all"])
def test_only_what_was_asked_for_moves_and_ranges_stay(trained):
    net = original()
    model = quantized(net)
    before = copy.deepcopy(model.state_dict())
    module = self_distillation(model, net, trained=trained)
    trainer(max_epochs=2).fit(module, DataLoader(samples()[0], 4))
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert {n.rpartition(".")[2] for n in changed} == (
        {"bias"} if trained == "biases" else {"bias", "weight"}
    )
    assert not {n for n in changed if n.startswith("quantizers")}
    assert all(not m.training for m in model.modules() if isinstance(m, FakeQuantize))


def test_the_first_step_moves_each_layer_by_a_share_of_its_own_weight_step():
    net = original()
    model = quantized(net)
    layers = [m for m in model.modules() if isinstance(m, QuantizedLayer)]
    before = [layer.layer.bias.detach().clone() for layer in layers]
    scales = [float(layer.params(layer.folded()[0])[0].median()) for layer in layers]
    module = self_distillation(model, net, learning_rate=0.08)
    trainer(max_steps=1).fit(module, DataLoader(samples()[0], 4))
    for layer, bias, scale in zip(layers, before, scales, strict=True):
        moved = float((layer.layer.bias - bias).detach().abs().max())
        # Adam's first step is the rate, and the warm-up takes an eighth of it.
        assert moved == pytest.approx(0.08 * scale / 8, rel=1e-2)


def test_a_model_without_quantised_layers_is_refused():
    with pytest.raises(DistillationError, match="no quantised layer"):
        QuantizedStudent(nn.Linear(2, 2))
