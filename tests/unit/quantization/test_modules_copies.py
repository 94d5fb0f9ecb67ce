"""Copies, averages, half precision and the memory of the range: what surrounds training."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchedge import exporting
from torchedge.quantization import FakeQuantize, QuantizedLayer, QuantSpec, calibrate, prepare_qat
from torchedge.quantization.functional import affine_params

ONNX = exporting.target("onnx-cpu").scheme


def train(model, images, steps, average=None):
    optimizer = torch.optim.SGD(model.train().parameters(), 0.05, momentum=0.9)
    labels = torch.arange(len(images)) % 4
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if average is not None:
            average.update_parameters(model)
    return model


def quantizers(model):
    return [m for m in model.modules() if isinstance(m, FakeQuantize)]


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_average_of_models_has_scales_that_belong_to_its_ranges(net, images, use_buffers):
    """Averaging scales and zero points themselves would round to zero points of no range."""
    model = prepare_qat(net, ONNX, (images[:1],))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=use_buffers)
    train(model, images, 5, average)
    average.eval()
    for averaged, trained in zip(quantizers(average), quantizers(model), strict=True):
        assert averaged.calibrated
        expected = affine_params(averaged.low, averaged.high, averaged.spec)
        assert torch.equal(averaged.scale, expected[0])
        assert torch.equal(averaged.zero_point, expected[1])
        if not use_buffers:
            assert torch.equal(averaged.high, trained.high)
    moved = [
        not torch.equal(a.high, t.high)
        for a, t in zip(quantizers(average), quantizers(model), strict=True)
    ]
    assert any(moved) is use_buffers
    with torch.no_grad():
        answers, latest = average(images), model.eval()(images)
    assert torch.isfinite(answers).all()
    assert not torch.equal(answers, latest)


def test_a_copy_and_a_reload_continue_bit_for_bit(net, images):
    model = train(prepare_qat(net, ONNX, (images[:1],)), images, 3)
    twin = copy.deepcopy(model)
    reloaded = prepare_qat(net, ONNX, (images[:1],))
    reloaded.load_state_dict(model.state_dict())
    states = [train(m, images, 2).state_dict() for m in (model, twin, reloaded)]
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name
        assert torch.equal(states[2][name], value), name


def test_under_autocast_ranges_and_grid_stay_float32(net, images):
    """bfloat16 has 8 significant bits: a range in it would move the scale by up to 0.4 %."""
    model = prepare_qat(net, ONNX, (images[:1],)).train()
    on_grid = {}
    for name, quantizer in model.named_modules():
        if isinstance(quantizer, FakeQuantize):
            quantizer.register_forward_hook(
                lambda m, _, y, name=name: on_grid.update({name: (y.detach(), m.params())})
            )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(model(images), torch.arange(len(images)) % 4)
    loss.backward()
    assert on_grid
    for y, (scale, zero_point) in on_grid.values():
        assert y.dtype is scale.dtype is torch.float32
        steps = torch.round(y / scale)
        assert torch.equal(steps * scale, y)
        assert float((steps + zero_point).min()) >= 0
        assert float((steps + zero_point).max()) <= 255
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(q.low.dtype is torch.float32 for q in quantizers(model))


def test_under_autocast_weights_are_quantised_before_they_become_half_precision():
    layer = QuantizedLayer(nn.Linear(16, 4), QuantSpec(axis=0, narrow=True)).train()
    expected = layer.on_grid(layer.layer.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer.on_grid(layer.layer.weight)
        y = layer(torch.eye(16))
    assert torch.equal(inside, expected)
    bias = layer.layer.bias.bfloat16()
    assert torch.equal(y, nn.functional.linear(torch.eye(16).bfloat16(), expected.bfloat16(), bias))


def test_calibrating_a_model_in_training_mode_moves_no_observer(net, images):
    model = prepare_qat(net, ONNX, (images[:1],)).train()
    calibrated = calibrate(model, [images])
    assert calibrated.training
    assert not any(q.calibrated for q in quantizers(model))
    again = calibrate(calibrated, [images])
    for first, second in zip(quantizers(calibrated), quantizers(again), strict=True):
        assert torch.equal(first.high, second.high)


def test_a_range_learned_in_double_precision_stays_in_it():
    quantizer = FakeQuantize(QuantSpec()).double()
    y = quantizer(torch.tensor([1 / 3, -1.0], dtype=torch.float64))
    assert y.dtype is quantizer.scale.dtype is torch.float64


@pytest.mark.parametrize(("high", "clipped", "kept"), [(1.0, 0, 0), (0.5, 50, 101)])
def test_the_input_is_kept_and_masked_only_where_the_range_clips_it(high, clipped, kept):
    """The observer has just seen the extremes, so it is known beforehand."""
    sizes = []

    def keep(tensor):
        sizes.append(tensor.numel())
        return tensor

    quantizer = FakeQuantize(QuantSpec(narrow=True), averaging=1e-9)
    quantizer.set_range(torch.tensor(-high), torch.tensor(high))
    leaf = torch.linspace(-1, 1, 101).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = quantizer(leaf)
    y.sum().backward()
    assert max(sizes, default=0) == kept
    assert int((leaf.grad == 0).sum()) == clipped
