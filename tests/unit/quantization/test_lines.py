"""Norms without a layer, on integers: against whole numbers by hand, and through ``freeze``."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchedge.backends import TFLITE
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.freeze import FrozenFakeQuantize, freeze
from torchedge.quantization.lines import integer_lines, with_rounded_offset
from torchedge.reference.lines import norm_steps
from torchedge.reference.program import IntegerProgram
from torchedge.scheme import QuantSpec

SIGNED = QuantSpec(symmetric=False)


def norm(channels=8, seed=0):
    made = nn.BatchNorm2d(channels).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.weight.uniform_(-1.5, 1.5, generator=generator)
        made.bias.uniform_(-1, 1, generator=generator)
        made.running_mean.uniform_(-1, 1, generator=generator)
        made.running_var.uniform_(0.2, 2, generator=generator)
    return made


numbers = st.floats(-100, 100, allow_nan=False, allow_subnormal=False)


@given(factor=numbers, offset=numbers, input_scale=st.floats(1e-3, 10))
def test_a_line_has_its_factor_exactly_and_its_offset_to_half_a_step(factor, offset, input_scale):
    found = integer_lines(np.array([factor]), np.array([offset]), input_scale)
    weight, scale, bias = (float(part[0]) for part in found)
    step = float(np.float32(input_scale) * np.float32(scale))
    # What a widened scale drops is nothing beside the offset: 2^-22 of it for any int8 input.
    negligible = 128 * input_scale * abs(factor) <= 2**-22 * abs(offset)
    assert abs(weight * scale - factor) <= 1e-6 * abs(factor) + 1e-30 or negligible
    assert abs(bias * step - offset) <= 0.5001 * step
    assert abs(bias) <= 2**30


def test_a_dead_channel_s_scale_is_widened_until_its_bias_fits():
    weights, scales, biases = integer_lines(np.array([1e-9, 1.0]), np.array([100.0, 1.0]), 0.01)
    assert weights.tolist()[0] == 0
    np.testing.assert_allclose(biases * np.float32(0.01) * scales, [100.0, 1.0], rtol=1e-3)


def by_hand(steps, layer, scales):
    """With Python's own integers, channel by channel; the multiplier is a float32 number."""
    factors = (layer.weight / (layer.running_var.double() + layer.eps).sqrt()).double().detach()
    offsets = layer.bias.double().detach() - layer.running_mean.double() * factors
    weights, own, biases = integer_lines(factors.numpy(), offsets.numpy(), float(scales[0]))
    answer = np.empty(steps.shape)
    for channel, (weight, scale, bias) in enumerate(zip(weights, own, biases, strict=True)):
        multiplier = np.float32(scales[0]) * scale / np.float32(scales[1])
        for place in np.ndindex(steps.shape[2:]):
            at = (0, channel, *place)
            total = int(weight) * int(steps[at]) + int(bias)
            answer[at] = np.rint(np.float32(total) * multiplier)
    return answer


def test_the_steps_of_a_norm_are_those_of_whole_numbers():
    layer, scales = norm(), (torch.tensor(0.021), torch.tensor(0.034))
    steps = torch.randint(-128, 128, (1, 8, 16, 16), generator=torch.Generator().manual_seed(1))
    parts = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    found = norm_steps(steps.float(), parts, layer.eps, scales)
    np.testing.assert_array_equal(found, by_hand(steps.numpy(), layer, scales))


class Rounded(nn.Module):
    """A norm between two quantisers."""

    def __init__(self, layer, scales):
        super().__init__()
        self.before, self.after = (
            FrozenFakeQuantize.of_spec(scale, torch.tensor(0), SIGNED) for scale in scales
        )
        self.layer = layer

    def forward(self, x):
        return self.after(self.layer(self.before(x)))


def test_a_program_computes_a_norm_between_quantisers_on_integers():
    scales, layer = (torch.tensor(1.0), torch.tensor(0.001)), norm(512)
    with torch.no_grad():  # small enough for the second quantiser
        layer.weight.mul_(0.03)
        layer.bias.copy_(layer.running_mean * 0.03)
    model = Rounded(layer, scales).requires_grad_(False)
    steps = torch.randint(-1, 2, (1, 512, 4, 4), generator=torch.Generator().manual_seed(1))
    inputs = steps * scales[0]
    exported = torch.export.export(model.eval(), (inputs,)).module()
    found = IntegerProgram(exported, whole_numbers=True).run(inputs)
    wanted = by_hand(steps.numpy(), model.layer, scales).clip(-128, 127)
    np.testing.assert_array_equal(torch.round(found / scales[1]), wanted)
    # In floats the offset is another one, and a few results with it.
    assert (torch.round(model(inputs) / scales[1]) != torch.from_numpy(wanted)).any()


def test_a_norm_whose_offsets_are_rounded_is_nearly_the_same_and_rounds_no_further():
    layer, inputs = norm(), torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    once = with_rounded_offset(layer, 0.021)
    twice = with_rounded_offset(once, 0.021)
    with torch.no_grad():
        assert (once(inputs) - layer(inputs)).abs().max() < 0.021 * 0.01
        torch.testing.assert_close(twice(inputs), once(inputs), rtol=0, atol=1e-6)


class NormFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Conv2d(8, 8, 1), norm()
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.layer(x)
        return self.last(self.norm(x).relu() + self.norm(x + 1))


def test_freezing_rounds_a_norm_that_is_called_twice_for_each_of_its_inputs():
    torch.manual_seed(0)
    data = torch.randn(8, 8, 5, 5)
    model = calibrate(prepare_qat(NormFirst().eval(), TFLITE, (data[:1],)), data.split(4), minmax)
    plain, frozen = freeze(model), freeze(model, bias="int32")
    norms = [m for m in frozen.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2
    assert not any(norm.running_mean.any() for norm in norms)
    assert torch.equal(model.norm.bias, NormFirst().norm.bias)
    with torch.no_grad():
        assert (frozen(data) - plain(data)).abs().max() < 0.1


class HardSigmoid(nn.Module):
    """Between two quantisers, the second of 1/256 as TFLite's sigmoids have it."""

    def __init__(self, scale):
        super().__init__()
        self.before = FrozenFakeQuantize.of_spec(scale, torch.tensor(3), SIGNED)
        self.after = FrozenFakeQuantize.of_spec(torch.tensor(1 / 256), torch.tensor(-128), SIGNED)

    def forward(self, x):
        return self.after(nn.functional.hardsigmoid(self.before(x)))


def test_a_program_computes_a_hard_sigmoid_as_the_line_that_the_device_has():
    scale = torch.tensor(0.05)
    steps = torch.arange(-131, 125)  # all that the grid has
    inputs = (steps * scale).view(1, 1, 16, 16)
    exported = torch.export.export(HardSigmoid(scale).eval(), (inputs,)).module()
    found = IntegerProgram(exported, whole_numbers=True).run(inputs)
    weights, own, biases = integer_lines(np.array([np.float32(1 / 6)]), np.array([0.5]), 0.05)
    multiplier = np.float32(0.05) * own / np.float32(1 / 256)
    totals = int(weights[0]) * steps.numpy() + int(biases[0])
    wanted = np.rint(totals.astype(np.float32) * multiplier).clip(0, 255) / 256
    np.testing.assert_array_equal(found.numpy().ravel(), wanted)
