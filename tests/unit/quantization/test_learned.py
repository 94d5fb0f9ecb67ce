"""Learned step sizes: the paper's gradient by hand, by numbers, and through training."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from torchedge import exporting
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
    learned_step,
    learned_step_quantize,
)
from torchedge.quantization.learned import learn_step_sizes
from torchedge.quantization.scales import total_magnitude, weight_params
from torchedge.scheme import QuantSpec

ONNX = exporting.target("onnx-cpu").scheme
JETSON = exporting.target("jetson").scheme
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
    # A scale is its share of a sum times that sum, rounded twice: an ulp or two of the weights.
    torch.testing.assert_close(learning(images), model(images), rtol=1e-5, atol=1e-6)
    assert not any("scale" in name for name, _ in model.named_parameters())
    quantizers = [m for m in learning.modules() if isinstance(m, FakeQuantize)]
    layers = [m for m in learning.modules() if isinstance(m, QuantizedLayer)]
    changes = [p for n, p in learning.named_parameters() if n.endswith("log_scale_change")]
    assert len({id(p) for p in changes}) == len(quantizers) + len(layers)
    assert all(bool((change == 0).all()) for change in changes)


@pytest.mark.parametrize("value", [1e-4, 0.01, 1.0, 300.0])
def test_a_step_of_adam_is_the_same_share_of_every_scale(value):
    """A scale that is the parameter itself moves by 1e-3, a tenth of a scale of 0.01."""
    quantizer = learning_quantizer(value)
    adam = torch.optim.Adam(quantizer.parameters(), lr=1e-3)
    for _ in range(10):
        adam.zero_grad()
        quantizer(quantizer.high * torch.tensor([0.3, 5.0])).square().sum().backward()
        adam.step()
    # Ten steps of at most 0.1 %, which compound.
    assert 1.005 < float(quantizer.scale) / (value / 127) < math.exp(0.01) * (1 + 1e-5) or (
        math.exp(-0.01) * (1 - 1e-5) < float(quantizer.scale) / (value / 127) < 0.995
    )


def learning_quantizer(high):
    quantizer = FakeQuantize(QuantSpec())
    quantizer.set_range(torch.tensor(-high), torch.tensor(high))
    quantizer.log_scale_change = nn.Parameter(torch.tensor(0.0))
    return quantizer


@pytest.mark.parametrize("value", [0.02, 50.0])
def test_gradient_descent_moves_a_scale_as_descent_on_the_scale_itself_would(value):
    """Esser et al. balance scale and weights for descent on the scale: one step of either."""
    x, rate = torch.tensor([0.3, 0.77, 5.0]), 1e-4
    quantizer, scale = learning_quantizer(value), torch.tensor(value / 127, requires_grad=True)
    quantizer((x * value).view(1, 3)).square().sum().mul(1 / value**2).backward()
    y = learned_step_quantize((x * value).view(1, 3), scale, ZERO, quantizer.spec, 3)
    y.square().sum().mul(1 / value**2).backward()
    share = rate * float(scale.grad) / float(scale.detach())
    # Two sums of three terms in float32, one of which rounds a difference of nearly equal numbers.
    assert rate * float(quantizer.log_scale_change.grad) == pytest.approx(share, rel=1e-4)


def test_a_learned_scale_is_its_start_times_the_exponential_within_a_factor_of_16():
    spec, start = QuantSpec(), torch.tensor(0.3)
    for change in (-0.1, -0.01, 0.0, 0.02, 0.1):
        found = float(learned_step(start, torch.tensor(change), spec))
        # tanh bends by a third of the cube of change / log 16.
        bent = abs(change) ** 3 / math.log(16) ** 2 / 3
        assert found == pytest.approx(0.3 * math.exp(change), rel=bent + 1e-6)
    for change in (1e3, 1e30, float("inf")):
        assert float(learned_step(start, torch.tensor(change), spec)) == pytest.approx(16 * 0.3)
        assert float(learned_step(start, torch.tensor(-change), spec)) == pytest.approx(0.3 / 16)


def test_weight_decay_draws_scales_to_their_start_and_nowhere_else(net, images):
    """All parameters in one optimiser: at the start decay changes no scale, later it undoes."""
    learning = learn_step_sizes(calibrated(net, images)).eval()
    scales = {n: m.scale for n, m in learning.named_modules() if isinstance(m, FakeQuantize)}
    decay = torch.optim.AdamW(learning.parameters(), lr=0.1, weight_decay=1.0)
    for parameter in learning.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(50):
        decay.step()
    for name, scale in scales.items():
        assert torch.equal(learning.get_submodule(name).scale, scale)
    layer = learning.get_submodule("project")
    weight = layer.folded()[0]
    shrunk = weight.detach().abs().flatten(1).amax(1) / layer.spec.quant_max
    torch.testing.assert_close(layer.params(weight)[0], shrunk)  # as the weights themselves
    change = learning.get_submodule("quantizers.relu").log_scale_change
    with torch.no_grad():
        change.fill_(0.5)
    for _ in range(50):
        decay.step()
    assert abs(float(change.detach())) < 0.01


FEW = QuantSpec(bits=2, axis=0, narrow=True)


@pytest.mark.parametrize(
    "spec", [FEW, QuantSpec(bits=4), QuantSpec(bits=3, axis=0, group_size=2)], ids=str
)
def test_few_bits_begin_at_the_least_squared_error_of_the_grid(spec):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 6))
    net[0].weight.data[:, 0] = 0.3  # far from all others, which are below 0.125
    scheme = QuantScheme(weight=spec, activation=ONNX.activation)
    x = torch.randn(8, 64)
    fixed = calibrated(net, x, scheme)
    learning = learn_step_sizes(fixed)
    errors = []
    for model in (fixed, learning):
        layer = model.get_submodule("0")
        weight = layer.folded()[0].detach()
        errors.append((layer.on_grid(weight) - weight).square().detach())
    assert float(errors[1].sum()) < float(errors[0].sum())
    layer, weight = learning.get_submodule("0"), net[0].weight.detach()
    best = []
    largest = weight_params(weight, spec)[0] / total_magnitude(weight, spec)
    for share in torch.linspace(0.02, 1, 50):
        layer.start_share = share * largest
        error = (layer.on_grid(weight) - weight).square().detach()
        best.append(error.sum(1) if spec.group_size is None and spec.axis == 0 else error.sum())
    found = errors[1].sum(1) if best[0].ndim else errors[1].sum()
    # The nearest candidate is at most 1 / 80 of the largest weight away: errors are flat there.
    assert bool((found <= torch.stack(best).amin(0) * 1.1 + 1e-6).all())


def test_a_scale_that_was_chosen_before_is_the_start_at_any_width(net, images):
    scheme = QuantScheme(weight=FEW, activation=ONNX.activation)
    model = calibrated(net, images, scheme)
    for layer in model.modules():
        if isinstance(layer, QuantizedLayer):
            layer.weight_scale = 0.7 * layer.params(layer.folded()[0])[0].detach()
    learning = learn_step_sizes(model)
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLayer):
            learned = learning.get_submodule(name)
            found = learned.params(learned.folded()[0])[0]
            torch.testing.assert_close(found, layer.weight_scale, rtol=1e-6, atol=0)


def test_a_clipped_weight_can_move_and_a_clipped_activation_has_no_gradient(net, images):
    scheme = QuantScheme(weight=FEW, activation=ONNX.activation)
    learning = learn_step_sizes(calibrated(net, images, scheme)).eval()
    layer = learning.get_submodule("project")
    layer.start_share.mul_(0.1)
    weight = layer.folded()[0].detach().requires_grad_()
    layer.on_grid(weight).sum().backward()
    assert bool((weight.grad == 1).all())
    quantizer = learning_quantizer(1.0)
    x = torch.tensor([0.5, 7.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_a_learned_grid_follows_its_weight_and_its_batch_norm(net, images):
    """A scale beside them would be left behind, and two bits would soon be zeros or clipped."""
    learning = learn_step_sizes(
        calibrated(net, images, QuantScheme(weight=FEW, activation=ONNX.activation))
    )
    name, layer = next(
        (n, m) for n, m in learning.named_modules() if getattr(m, "batchnorm", None) is not None
    )
    before = layer.on_grid(layer.folded()[0]).detach()
    with torch.no_grad():
        layer.layer.weight.mul_(3)
        layer.batchnorm.weight.mul_(5)
    after = layer.on_grid(layer.folded()[0]).detach()
    torch.testing.assert_close(after, 15 * before, rtol=1e-5, atol=0, msg=name)


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
    fixed = FakeQuantize(quantizer.spec)
    fixed.set_range(quantizer.low, quantizer.high)
    change = float(quantizer.scale) / float(fixed.scale)
    if scheme is ONNX:
        assert change == pytest.approx(
            math.exp(float(quantizer.log_scale_change.detach())), rel=1e-3
        )


def test_learned_ranges_are_no_longer_observed(net, images):
    learning = learn_step_sizes(calibrated(net, images)).train()
    before = {n: b.clone() for n, b in learning.named_buffers() if "quantizers" in n}
    learning(100 * images)
    assert all(torch.equal(learning.get_buffer(name), value) for name, value in before.items())


@pytest.mark.parametrize("change", [-1e30, -float("inf"), 1e30])
def test_a_step_of_the_optimiser_that_is_far_too_long_leaves_a_working_scale(change):
    quantizer = learning_quantizer(1.27)
    quantizer.log_scale_change = nn.Parameter(torch.tensor(change))
    y = quantizer(torch.tensor([0.014, -3.0]))
    assert 0 < float(quantizer.scale) < 1
    assert torch.isfinite(y).all()
    y.sum().backward()
    assert torch.isfinite(quantizer.log_scale_change.grad)


def test_short_scales_stay_short_while_they_learn():
    """A learned scale of 24 bits on a device that needs 4 would make its sums inexact."""
    change = torch.tensor(0.01, requires_grad=True)
    used = learned_step(torch.tensor(0.01), change, QuantSpec(scale_bits=4))
    used.backward()
    mantissa = float(torch.frexp(used.detach())[0]) * 2**4
    assert mantissa == int(mantissa)
    assert 0.01 * math.exp(0.01) < float(used.detach()) < 0.0101 * 1.125
    assert float(change.grad) > 0


def test_a_short_weight_scale_begins_as_it_was_and_stays_while_weights_move_a_little(net, images):
    learning = learn_step_sizes(calibrated(net, images, JETSON)).eval()
    fixed = calibrated(net, images, JETSON)
    layer, other = learning.get_submodule("project"), fixed.get_submodule("project")
    for factor in (1.0, 1 - 2**-6, 1 + 2**-6):
        weight = layer.folded()[0].detach()
        expected = other.params(other.folded()[0].detach())[0]
        assert torch.equal(layer.params(factor * weight)[0], expected)


def test_a_fixed_range_does_not_learn(net, images):
    model = calibrated(net, images)
    fixed = FakeQuantize(ONNX.activation, fixed=(0.0, 1.0))
    model.set_submodule("quantizers.relu", fixed)
    learning = learn_step_sizes(model)
    assert learning.get_submodule("quantizers.relu").log_scale_change is None
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
