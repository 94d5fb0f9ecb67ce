import pytest
import torch
from torch import nn

from torchedge.errors import CalibrationError, SchemeError, UnknownNameError
from torchedge.quantization import (
    QuantizedLayer,
    calibrate,
    fold_batchnorms,
    minmax,
    prepare_qat,
)
from torchedge.quantization.recovery import (
    Recovery,
    choose_weight_scales,
    correct_biases,
    quantize,
    reestimate_batchnorm,
)
from torchedge.scheme import QuantScheme, QuantSpec

LOW_BITS = QuantScheme(
    weight=QuantSpec(bits=3, axis=0, narrow=True),
    activation=QuantSpec(symmetric=False, signed=False),
    bias="int32",
)


@pytest.fixture
def model(net, images):
    return calibrate(prepare_qat(net, LOW_BITS, (images[:1],)), [images], minmax)


def outputs_of_layers(model, images):
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer):
            module.register_forward_hook(lambda _, __, y, name=name: found.__setitem__(name, y))
    with torch.no_grad():
        model.eval()(images)
    return found


def float_twin(model):
    for module in model.modules():
        if hasattr(module, "enabled"):
            module.enabled = False
    return model


def test_after_correction_every_layer_has_the_mean_output_of_the_float_network(net, model, images):
    corrected = outputs_of_layers(correct_biases(model, images.split(8)), images)
    exact = outputs_of_layers(float_twin(prepare_qat(net, LOW_BITS, (images[:1],))), images)
    for name, expected in exact.items():
        others = [axis for axis in range(expected.ndim) if axis != 1]
        # Sums of 32 batches of float32, each off by some units in the last place.
        torch.testing.assert_close(
            corrected[name].mean(others), expected.mean(others), rtol=1e-4, atol=1e-5
        )


def test_correction_is_the_layer_by_layer_one_that_runs_the_network_again_and_again(model, images):
    """The second implementation: a forward pass of the network for each layer."""
    from torchedge.quantization import fold_batchnorms

    slow = fold_batchnorms(model.eval())
    exact = outputs_of_layers(float_twin(fold_batchnorms(model)), images)
    for name, module in slow.named_modules():
        if isinstance(module, QuantizedLayer):
            error = exact[name] - outputs_of_layers(slow, images)[name]
            module.layer.bias.data += error.mean([a for a in range(error.ndim) if a != 1])
    fast = correct_biases(model, images.split(16))
    for name, parameter in fast.named_parameters():
        # An activation at the middle between two integers may fall to either side.
        torch.testing.assert_close(
            parameter, dict(slow.named_parameters())[name], atol=1e-3, rtol=0
        )


def weight_error(row, scale):
    """Squared error, and 16 times that of its part along the weight: what scales the output."""
    error = (row / scale).round().clamp(-3, 3) * scale - row
    along = (error @ row) / row.norm()
    return error.square().sum() + 16 * along.square()


def test_scales_without_data_have_the_least_weight_error_of_all_candidates(model):
    for layer in choose_weight_scales(model).modules():
        if not isinstance(layer, QuantizedLayer):
            continue
        weight = layer.layer.weight.detach()
        largest = weight.abs().flatten(1).amax(1)
        by_channel = weight.flatten(1)
        for channel, row in enumerate(by_channel):
            ratios = torch.arange(16, 41) / 40
            scales = ratios * largest[channel] / 3
            errors = torch.stack([weight_error(row, scale) for scale in scales])
            found = weight_error(row, layer.weight_scale[channel])
            assert found <= errors.min() * (1 + 1e-4) + 1e-12


def test_scales_with_data_lower_the_error_of_the_outputs(net, model, images):
    chosen = correct_biases(choose_weight_scales(model, [images]), [images])
    plain = correct_biases(model, [images])
    with torch.no_grad():
        expected = net(images)
        assert (chosen(images) - expected).square().mean() < (
            plain(images) - expected
        ).square().mean()


def test_scales_for_the_whole_tensor_and_transposed_groups_have_the_shape_of_the_grid(images):
    whole = QuantScheme(weight=QuantSpec(bits=4))
    for scheme, shape in ((whole, ()), (LOW_BITS, (3,))):
        net = nn.Sequential(nn.ConvTranspose2d(1, 4, 2), nn.ConvTranspose2d(4, 6, 2, groups=2))
        model = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)
        for chosen in (choose_weight_scales(model), choose_weight_scales(model, [images])):
            assert chosen.get_submodule("1").weight_scale.shape == shape


def test_weights_with_zero_points_have_no_scale_to_choose(net, images):
    scheme = QuantScheme(weight=QuantSpec(axis=0, symmetric=False))
    with pytest.raises(SchemeError, match="zero points"):
        choose_weight_scales(prepare_qat(net, scheme, (images[:1],)))


def test_statistics_are_those_of_a_batch_norm_that_averages_over_batches():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)
    )
    batches = torch.randn(32, 1, 8, 8).split(8)
    found = reestimate_batchnorm(net, batches)
    for norm in (net[1], net[4]):
        norm.momentum = None
        norm.reset_running_stats()
    for batch in batches:
        net.train()(batch)
    for position in (1, 4):
        torch.testing.assert_close(found[position].running_mean, net[position].running_mean)
        torch.testing.assert_close(found[position].running_var, net[position].running_var)


def test_after_reestimation_a_quantised_layer_with_batch_norm_has_its_mean_and_variance(
    model, images
):
    found = outputs_of_layers(reestimate_batchnorm(model, [images]).eval(), images)
    norm = model.get_submodule("stem.0").batchnorm
    y = found["stem.0"].movedim(1, 0).flatten(1)
    # The grid moves with the statistics, by less than the 3-bit step it has.
    torch.testing.assert_close(y.mean(1), norm.bias.detach(), atol=0.1, rtol=0)
    torch.testing.assert_close(y.std(1), norm.weight.detach().abs(), atol=0.2, rtol=0)


def test_reestimation_needs_a_batch_norm():
    with pytest.raises(CalibrationError, match="no batch norm"):
        reestimate_batchnorm(nn.Sequential(nn.Linear(1, 1)), [torch.zeros(2, 1)])


@pytest.mark.parametrize("effort", ["fast", "balanced", "best", Recovery(rounding=False)])
def test_one_call_quantises_better_than_ranges_alone(net, model, images, effort):
    quantized = quantize(net, LOW_BITS, images.split(16), effort=effort)
    with torch.no_grad():
        error = (quantized(images) - net(images)).square().mean()
        plain = (model.eval()(images) - net(images)).square().mean()
    assert error < plain / 2


def test_one_call_keeps_the_mode_and_is_deterministic(net, images):
    first, second = (quantize(net, LOW_BITS, [images], seed=1) for _ in range(2))
    assert first.training == net.training
    assert torch.equal(first(images), second(images))


def test_one_call_takes_ranges_from_the_float_network_and_not_from_its_uncorrected_weights(
    net, images
):
    """3-bit weights move the output's mean; ranges seen there clipped the corrected outputs."""
    quantized = quantize(net, LOW_BITS, [images], effort="fast")
    exact = net(images).detach()
    output = quantized.get_submodule("quantizers.classifier")
    # The least squared error at 8 bits leaves no more than some steps of the range out.
    margin = 0.05 * float(exact.max() - exact.min())
    assert output.low <= exact.min() + margin
    assert output.high >= exact.max() - margin


def test_a_layer_left_in_float_keeps_its_weights_and_reads_what_was_not_rounded(net, images):
    names = ["stem.0", "depthwise"]
    recovery = Recovery(equalize=False)
    model = quantize(net, LOW_BITS, [images], effort=recovery, float_layers=names)
    exact = fold_batchnorms(prepare_qat(net, LOW_BITS, (images[:1],)))
    for name in names:
        assert torch.equal(
            model.get_submodule(name).layer.weight, exact.get_submodule(name).layer.weight
        )
    found = outputs_of_layers(model, images)
    expected = outputs_of_layers(float_twin(exact), images)
    assert torch.equal(found["stem.0"], expected["stem.0"])
    assert not torch.equal(found["project"], expected["project"])


def test_behind_layers_on_integers_a_layer_in_float_still_has_the_float_networks_mean(net, images):
    recovery = Recovery(equalize=False)
    model = quantize(net, LOW_BITS, [images], effort=recovery, float_layers=["project"])
    exact = outputs_of_layers(float_twin(prepare_qat(net, LOW_BITS, (images[:1],))), images)
    found = outputs_of_layers(model, images)["project"]
    assert not torch.equal(found, exact["project"])  # its input is rounded
    torch.testing.assert_close(
        found.mean((0, 2, 3)), exact["project"].mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )


def test_a_layer_to_leave_in_float_that_is_not_there_is_named(net, images):
    with pytest.raises(UnknownNameError, match=r"no quantised layer 'stem'; it has stem\.0"):
        quantize(net, LOW_BITS, [images], float_layers=["stem"])
