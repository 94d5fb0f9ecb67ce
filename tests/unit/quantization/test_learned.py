"""Learned step sizes: the paper's gradient by hand, by numbers, and through training."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from torchedge import export
from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization import (
    FakeQuantize,
    QuantizedLayer,
    QuantScheme,
    calibrate,
    freeze,
    minmax,
    prepare_qat,
)
from torchedge.quantization.functional import (
    fake_quantize,
    learned_step_quantize,
    usable_step,
)
from torchedge.quantization.learned import learn_step_sizes
from torchedge.scheme import QuantSpec

ONNX = export.target("onnx-cpu").scheme
JETSON = export.target("jetson").scheme
ZERO = torch.tensor(0)


def calibrated(net, images, scheme=ONNX):
    return calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)


def scale_gradient(values, scale, spec, zero_point=ZERO, sharing=1):
    step = torch.tensor(scale, requires_grad=True)
    y = learned_step_quantize(torch.tensor(values), step, zero_point, spec, sharing)
    y.sum().backward()
    return step.grad.tolist()


def test_the_gradient_of_the_worked_numbers():
    """Scale 0.5, integers -2…1, 1 step: 0.7 → 1 - 1.4; 0.2 → 0 - 0.4; beyond the ends -2 and 1."""
    spec = QuantSpec(bits=2)
    assert scale_gradient([0.7], 0.5, spec) == pytest.approx(-0.4)
    assert scale_gradient([0.2], 0.5, spec) == pytest.approx(-0.4)
    assert scale_gradient([5.0], 0.5, spec) == 1
    assert scale_gradient([-5.0], 0.5, spec) == -2
    assert scale_gradient([0.7, 0.2, 5.0, -5.0], 0.5, spec) == pytest.approx(-1.8)


def test_outside_an_asymmetric_grid_the_bounds_lose_the_zero_point():
    spec = QuantSpec(symmetric=False, signed=False)
    factor = 1 / math.sqrt(255)
    zero_point = torch.tensor(100)
    assert scale_gradient([9e3], 0.5, spec, zero_point) == pytest.approx(155 * factor)
    assert scale_gradient([-9e3], 0.5, spec, zero_point) == pytest.approx(-100 * factor)


def test_the_gradient_shrinks_with_the_root_of_values_and_steps():
    spec = QuantSpec(bits=8)
    whole = scale_gradient([0.7], 0.5, spec) * math.sqrt(127)
    assert whole == pytest.approx(-0.4)
    assert scale_gradient([0.7], 0.5, spec, sharing=100) == pytest.approx(whole / math.sqrt(12_700))


def test_each_channel_gets_the_sum_of_its_own_values():
    spec = QuantSpec(bits=2, axis=0)
    values = [[0.7, 0.2], [0.7, 5.0]]
    step = torch.tensor([0.5, 0.5], requires_grad=True)
    zeros = torch.zeros(2, dtype=torch.int32)
    learned_step_quantize(torch.tensor(values), step, zeros, spec, 1).sum().backward()
    assert step.grad.tolist() == pytest.approx([-0.8, 0.6])


def test_each_group_gets_the_sum_of_its_own_values():
    spec = QuantSpec(bits=2, axis=0, group_size=2)
    step = torch.tensor([[0.5, 0.5]], requires_grad=True)
    zeros = torch.zeros(1, 2, dtype=torch.int32)
    learned_step_quantize(torch.tensor([[0.7, 0.2, 5.0]]), step, zeros, spec, 1).sum().backward()
    assert step.grad.tolist() == [pytest.approx([-0.8, 1.0])]


def test_values_and_gradients_equal_the_formula_left_to_autograd():
    """clip(x/s, …) with the rounding as a constant: autograd derives the paper's three cases."""
    spec, zero = QuantSpec(symmetric=False, signed=False), 30
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(2, 500, generator=generator).mul(4)
    ours, written = x.clone().requires_grad_(), x.clone().requires_grad_()
    steps = [torch.tensor(0.021, requires_grad=True) for _ in range(2)]
    y = learned_step_quantize(ours, steps[0], torch.tensor(zero), spec, 500)
    y.mul(weights).sum().backward()
    clipped = (written / steps[1]).clamp(-zero, 255 - zero)
    expected = (clipped + (clipped.round() - clipped).detach()) * steps[1]
    expected.mul(weights).sum().backward()
    assert torch.equal(y, expected)
    # Between a bound and half a step beyond it torch's clamp clips and ours rounds to the bound.
    shifted = x / 0.021 + zero
    edge = ((shifted > -0.5) & (shifted < 0)) | ((shifted > 255) & (shifted < 255.5))
    torch.testing.assert_close(ours.grad[~edge], written.grad[~edge], rtol=2.0**-22, atol=0)
    assert 0 < int((ours.grad == 0).sum()) < 500
    # Both sums have 500 terms of at most 225 · |weight|; those at an edge differ by half a step.
    tolerance = 0.5 * float(weights[edge].abs().sum()) + 2 * 500 * 225 * 16 * 2.0**-24
    torch.testing.assert_close(
        steps[0].grad * math.sqrt(500 * 255), steps[1].grad, rtol=0, atol=tolerance
    )


def test_torchs_learnable_operator_finds_the_same_scale_gradient():
    x = torch.randn(400, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scale = torch.tensor([0.02], requires_grad=True)
    theirs = torch._fake_quantize_learnable_per_tensor_affine(
        x, scale, torch.zeros(1), -128, 127, 1 / math.sqrt(400 * 127)
    )
    theirs.sum().backward()
    ours = torch.tensor(0.02, requires_grad=True)
    learned_step_quantize(x, ours, ZERO, QuantSpec(), 400).sum().backward()
    # 400 terms below 128 are added in another order: each sum loses at most 400 · 128 · 2^-24.
    tolerance = 2 * 400 * 128 * 2.0**-24 / math.sqrt(400 * 127)
    torch.testing.assert_close(ours.grad, scale.grad[0], atol=tolerance, rtol=0)


def test_the_learning_copy_computes_what_the_model_computes_and_leaves_it_alone(net, images):
    model = calibrated(net, images).eval()
    learning = learn_step_sizes(model)
    assert torch.equal(learning(images), model(images))
    assert not any("scale" in name for name, _ in model.named_parameters())
    quantizers = [m for m in learning.modules() if isinstance(m, FakeQuantize)]
    layers = [m for m in learning.modules() if isinstance(m, QuantizedLayer)]
    scales = {id(p) for n, p in learning.named_parameters() if n.endswith("scale")}
    assert len(scales) == len(quantizers) + len(layers)


def train(model, images, steps=8, learning_rate=0.05):
    optimizer = torch.optim.SGD(model.train().parameters(), lr=learning_rate, momentum=0.9)
    labels = torch.arange(len(images)) % 4
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("scheme", [ONNX, JETSON], ids=["onnx-cpu", "jetson"])
def test_training_moves_every_scale_and_freezing_takes_the_learned_ones(net, images, scheme):
    learning = learn_step_sizes(calibrated(net, images, scheme))
    before = {n: p.detach().clone() for n, p in learning.named_parameters() if "scale" in n}
    losses = train(learning, images)
    assert losses[-1] < losses[0]
    after = dict(learning.named_parameters())
    unmoved = [name for name, value in before.items() if torch.equal(after[name], value)]
    assert not unmoved
    learning.eval()
    frozen = freeze(learning)
    assert torch.equal(frozen(images), learning(images))
    quantizer = learning.get_submodule("quantizers.relu")
    assert float(frozen.get_submodule("quantizers.relu").scale) == float(quantizer.scale)
    assert float(quantizer.scale) == float(
        usable_step(quantizer.learned_scale.detach(), quantizer.spec)
    )


def test_learned_ranges_are_no_longer_observed(net, images):
    learning = learn_step_sizes(calibrated(net, images)).train()
    before = {n: b.clone() for n, b in learning.named_buffers() if "quantizers" in n}
    learning(100 * images)
    assert all(torch.equal(learning.get_buffer(name), value) for name, value in before.items())


def test_a_step_of_the_optimiser_across_zero_leaves_a_working_scale():
    quantizer = FakeQuantize(QuantSpec())
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.27))
    for value in (-0.01, 0.0):
        quantizer.learned_scale = nn.Parameter(torch.tensor(value))
        y = quantizer(torch.tensor([0.014, -3.0]))
        assert float(quantizer.scale) == max(abs(quantizer.learned_scale.item()), 2.0**-126)
        assert torch.isfinite(y).all()
        y.sum().backward()
        assert torch.isfinite(quantizer.learned_scale.grad)


def test_short_scales_stay_short_while_they_learn():
    """A learned scale of 24 bits on a device that needs 4 would make its sums inexact."""
    spec = QuantSpec(scale_bits=4)
    learned = torch.tensor(0.0101, requires_grad=True)
    used = usable_step(learned, spec)
    used.backward()
    mantissa = float(torch.frexp(used.detach())[0]) * 2**4
    assert mantissa == int(mantissa)
    assert float(learned.detach()) < float(used.detach())
    assert float(learned.grad) == 1


def test_a_fixed_range_does_not_learn(net, images):
    model = calibrated(net, images)
    fixed = FakeQuantize(ONNX.activation, fixed=(0.0, 1.0))
    model.set_submodule("quantizers.relu", fixed)
    learning = learn_step_sizes(model)
    assert learning.get_submodule("quantizers.relu").learned_scale is None
    assert float(learning.get_submodule("quantizers.relu").scale) == pytest.approx(1 / 255)


def test_a_pruned_weight_stays_zero_while_its_scale_learns(net, images):
    model = calibrated(net, images)
    layer = model.get_submodule("project").layer
    prune.random_unstructured(layer, "weight", 0.5)
    with torch.no_grad():  # the package leaves a weight behind that cannot be copied
        layer.weight = layer.weight.detach()
    learning = learn_step_sizes(model)
    train(learning, images)
    quantized = learning.get_submodule("project")
    weight = quantized.on_grid(quantized.folded()[0])
    assert bool((weight[quantized.layer.weight_mask == 0] == 0).all())
    assert bool((weight != 0).any())


def test_what_cannot_learn_is_refused(net, images):
    with pytest.raises(SchemeError, match="prepare_qat"):
        learn_step_sizes(net)
    with pytest.raises(CalibrationError, match=r"quantizers\.x"):
        learn_step_sizes(prepare_qat(net, ONNX, (images[:1],)))
    model = calibrated(net, images)
    with pytest.raises(SchemeError, match="already"):
        learn_step_sizes(learn_step_sizes(model))
    asymmetric = QuantScheme(weight=QuantSpec(axis=0, symmetric=False))
    with pytest.raises(SchemeError, match="symmetric"):
        learn_step_sizes(calibrated(net, images, asymmetric))


def test_a_learned_model_reloads_from_its_state(net, images):
    learning = learn_step_sizes(calibrated(net, images))
    train(learning, images)
    twin = learn_step_sizes(calibrated(net, images))
    twin.load_state_dict(learning.state_dict())
    assert torch.equal(twin.eval()(images), learning.eval()(images))


def test_without_learning_the_scale_gets_no_gradient():
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize(torch.tensor([0.7], requires_grad=True), scale, ZERO, QuantSpec()).backward()
    assert scale.grad is None
