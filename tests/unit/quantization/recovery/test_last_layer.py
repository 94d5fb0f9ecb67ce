"""The last layer solved anew, against a solver of another kind."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from torchedge.backends import ONNX_RUNTIME
from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.recovery import quantize, refit_last_layer

COARSE = replace(ONNX_RUNTIME, activation=replace(ONNX_RUNTIME.activation, bits=3))
FLOAT_LOGITS = replace(
    COARSE, placement=replace(COARSE.placement, outputs_of=frozenset({"input", "conv"}))
)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)).eval()


def images(count, seed=1):
    """Of few dimensions: mixtures of six patterns."""
    patterns = torch.rand(6, 16, generator=torch.Generator().manual_seed(9))
    shares = torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))
    return (shares @ patterns).view(count, 1, 4, 4)


def prepared(net, scheme=FLOAT_LOGITS):
    return calibrate(prepare_qat(net, scheme, (images(1),)).eval(), [images(256)], minmax)


@torch.no_grad()
def error(model, net, x):
    return float((model.eval()(x) - net(x)).square().mean())


@torch.no_grad()
def test_the_weights_are_those_of_ridge_regression_to_within_a_step():
    net, x, ridge = network(), images(512), 0.05
    model = prepared(net)
    layer = model.get_submodule("3")
    read = []
    layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model(x)
    rows = read.pop().double().numpy()
    now = layer.on_grid(layer.layer.weight).double().numpy()
    centred = rows - rows.mean(0)
    unit = ridge * centred.var(0).mean()
    # Ridge as plain least squares on rows of the identity below the data.
    system = np.concatenate([centred / np.sqrt(len(rows)), np.sqrt(unit) * np.eye(96)])
    wanted = net(x).double().numpy()
    wanted = np.concatenate([(wanted - wanted.mean(0)) / np.sqrt(len(rows)), np.sqrt(unit) * now.T])
    solved, *_ = np.linalg.lstsq(system, wanted, rcond=None)
    refitted = refit_last_layer(model, net, x.split(100), ridge=ridge).get_submodule("3")
    step = refitted.weight_scale.view(-1, 1).double().numpy()
    off = np.abs(refitted.layer.weight.double().numpy() - solved.T * (now != 0)) / step
    assert off.max() <= 1 + 1e-3  # up or down, and float32 below a thousandth of a step
    bias = net(x).double().numpy().mean(0) - rows.mean(0) @ refitted.layer.weight.double().numpy().T
    assert np.allclose(refitted.layer.bias.double().numpy(), bias, atol=1e-5)


def test_on_other_samples_noise_of_three_bits_costs_less_than_half():
    net = network()
    model = quantize(net, FLOAT_LOGITS, [images(256)], effort="fast")
    refitted = refit_last_layer(model, net, images(1024, seed=2).split(128))
    unseen = images(512, seed=3)
    assert error(refitted, net, unseen) < error(model, net, unseen) / 2


def test_the_way_samples_are_batched_does_not_matter():
    net = network()
    model = prepared(net)
    weights = [
        refit_last_layer(model, net, images(300).split(size)).get_submodule("3").layer.weight
        for size in (7, 300)
    ]
    assert torch.equal(*weights)


def test_zeros_stay_zero_and_the_model_is_not_changed():
    net = network()
    with torch.no_grad():
        net[3].weight[:, ::2] = 0
    model = prepared(net)
    before = copy.deepcopy(model.state_dict())
    refitted = refit_last_layer(model, net, [images(300)]).get_submodule("3").layer
    assert not refitted.weight[:, ::2].any()
    assert refitted.weight[:, 1::2].any()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_with_quantised_logits_the_layer_before_the_quantiser_is_found():
    net = network()
    model = prepared(net, ONNX_RUNTIME)
    refitted = refit_last_layer(model, net, [images(300)])
    before = model.get_submodule("3").layer.weight
    assert not torch.equal(before, refitted.get_submodule("3").layer.weight)


def test_a_network_that_ends_otherwise_is_refused():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval()
    model = prepared(net, ONNX_RUNTIME)
    with pytest.raises(SchemeError, match="does not end with a quantised linear layer"):
        refit_last_layer(model, net, [images(8)])


def test_too_few_samples_and_a_ridge_of_nothing_are_refused():
    net = network()
    model = prepared(net)
    with pytest.raises(CalibrationError, match=r"1 samples.*some 192"):
        refit_last_layer(model, net, [images(1)])
    with pytest.raises(SchemeError, match="ridge is 0"):
        refit_last_layer(model, net, [images(8)], ridge=0.0)


def test_a_last_layer_left_in_float_is_solved_and_not_rounded():
    net = network()
    model = quantize(net, FLOAT_LOGITS, [images(256)], effort="fast", float_layers=["3"])
    refitted = refit_last_layer(model, net, [images(1024, seed=2)]).get_submodule("3")
    steps = refitted.layer.weight / refitted.params(refitted.layer.weight)[0].view(-1, 1)
    assert (steps - steps.round()).abs().max() > 0.1
    unseen = images(512, seed=3)
    assert error(refit_last_layer(model, net, [images(1024, seed=2)]), net, unseen) < error(
        model, net, unseen
    )
