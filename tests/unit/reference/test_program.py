"""Programs on integers: hand-made cases, int64 arithmetic, and ONNX Runtime."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchedge import exporting
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.freeze import FrozenFakeQuantize, FrozenLayer
from torchedge.reference.program import IntegerProgram
from torchedge.reference.whole_numbers import whole_sum
from torchedge.scheme import QuantSpec
from torchedge_onnx.runner import OnnxRunner

ONNX = exporting.target("onnx-cpu").scheme
WEIGHTS = QuantSpec(axis=0, narrow=True)


def activation(scale, zero):
    spec = QuantSpec(symmetric=False, signed=False)
    return FrozenFakeQuantize.of_spec(torch.tensor(scale), torch.tensor(zero), spec)


def frozen(layer, integers, scales, bias_integers, input_scale):
    """A layer with these integers as weights and bias."""
    shape = [-1, *[1] * (integers.ndim - 1)]
    bias_scale = input_scale * scales
    layer.weight = nn.Parameter(integers * scales.view(shape))
    if bias_integers is not None:
        layer.bias = nn.Parameter(bias_integers * bias_scale)
    bias = None if bias_integers is None else FrozenFakeQuantize.of_bias(bias_scale)
    weights = FrozenFakeQuantize.of_spec(scales, torch.zeros(len(scales)), WEIGHTS)
    return FrozenLayer(layer, weights, bias).requires_grad_(False)


def program(model, *inputs):
    return IntegerProgram(torch.export.export(model.eval(), inputs).module())


def test_a_linear_layer_equals_a_hand_made_case():
    """2·3 + (-1)·(-1) + 4 = 11 eighths are 1.375 steps; the other channel is 2.5, to even."""
    layer = frozen(
        nn.Linear(2, 2),
        torch.tensor([[3.0, -1.0], [4.0, -2.0]]),
        torch.tensor([0.25, 0.5]),
        torch.tensor([4.0, 0.0]),
        torch.tensor(0.5),
    )
    model = nn.Sequential(activation(0.5, 10), layer, activation(1.0, 3))
    x = torch.tensor([[1.0, -0.5]])
    assert program(model, x).run(x).tolist() == [[1.0, 2.0]]


class Sum(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.first, self.second = activation(0.5, 0), activation(0.25, 128)
        self.result, self.options = activation(0.5, 100), options

    def forward(self, x, y):
        return self.result(torch.add(self.first(x), self.second(y), **self.options))


@pytest.mark.parametrize(("options", "expected"), [({}, 2.0), ({"alpha": 2}, 2.5)])
def test_a_weighted_sum_is_not_taken_for_a_plain_one(options, expected):
    """1 + 0.75 is 3.5 steps, to even 4; 1 + 2·0.75 is 5. The weight was once left out."""
    x, y = torch.tensor([1.1]), torch.tensor([0.8])
    assert program(Sum(**options), x, y).run(x, y).tolist() == [expected]


class Average(nn.Module):
    def __init__(self, axes):
        super().__init__()
        self.first, self.second, self.axes = activation(1.0, 0), activation(0.5, 0), axes

    def forward(self, x):
        return self.second(self.first(x).mean(self.axes))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 3, 4, 5), (2, 3)), ((2, 3, 4), (-2, -1)), ((2, 3, 4, 2, 2), (-2, -1)), ((2, 3, 4), -1)],
)
def test_a_mean_is_over_the_axes_it_names(shape, axes):
    """Axes counted from the end were once taken for those of an image."""
    x = torch.randint(0, 100, shape).float()
    expected = torch.round(2 * x.mean(axes)) / 2
    assert torch.equal(program(Average(axes), x).run(x), expected)


def requantised(sums, multiplier):
    """In float32, as the runtime: one product, rounded half to even."""
    steps = np.rint(sums.astype(np.float32) * multiplier.astype(np.float32))
    return np.clip(steps, -3, 252)


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped", "transposed"])
def test_sums_beyond_the_exact_range_of_float32_equal_int64(kind):
    """Fan-ins of up to 4,608 with weights near 127: sums up to 1.4e8, nine times 2^24."""
    generator = np.random.default_rng(0)
    options = {"grouped": {"groups": 2}}.get(kind, {})
    layer = {
        "linear": lambda: nn.Linear(4608, 4),
        "conv": lambda: nn.Conv2d(512, 4, 3),
        "grouped": lambda: nn.Conv2d(1024, 4, 3, **options),
        "transposed": lambda: nn.ConvTranspose2d(4608, 4, 1),
    }[kind]()
    integers = generator.integers(100, 128, tuple(layer.weight.shape))
    integers *= generator.choice([-1, 1, 1, 1], integers.shape)
    x = generator.integers(
        0,
        253,
        {"linear": (2, 4608), "transposed": (2, 4608, 1, 1)}.get(
            kind, (2, layer.weight.shape[1] * options.get("groups", 1), 3, 3)
        ),
    )
    scales, bias = np.full(4, 2.0**-6, np.float32), generator.integers(-99999, 99999, 4)
    if kind == "transposed":
        scales = scales[:1].repeat(4)
    flat = x.reshape(2, options.get("groups", 1), -1)
    matrix = integers.reshape(4608, 4).T if kind == "transposed" else integers.reshape(4, -1)
    rows = matrix.reshape(flat.shape[1], -1, flat.shape[2])
    sums = np.einsum("bgi,goi->bgo", flat, rows).reshape(2, 4) + bias
    assert np.abs(sums).max() > 2**24
    result_scale = float(np.float32(2.0**-6 * 2.0**-6 * np.abs(sums).max() / 200))
    spec_axis = 1 if kind == "transposed" else 0
    shape = [-1 if d == spec_axis else 1 for d in range(integers.ndim)]
    layer.weight = nn.Parameter(torch.tensor(integers * scales.reshape(shape), dtype=torch.float32))
    layer.bias = nn.Parameter(torch.tensor(bias * 2.0**-12, dtype=torch.float32))
    steps = torch.tensor(scales)
    weight_spec = QuantSpec(axis=spec_axis, narrow=True)
    quantizers = (
        FrozenFakeQuantize.of_spec(steps, torch.zeros(4), weight_spec),
        FrozenFakeQuantize.of_bias(steps * 2.0**-6),
    )
    layer = FrozenLayer(layer, *quantizers).requires_grad_(False)
    model = nn.Sequential(activation(2.0**-6, 3), layer, activation(result_scale, 3))
    inputs = torch.tensor(x * 2.0**-6, dtype=torch.float32)
    found = program(model, inputs).run(inputs).flatten(1) / torch.tensor(result_scale)
    expected = requantised(sums, np.full(4, np.float32(2.0**-12) / np.float32(result_scale)))
    assert np.array_equal(np.rint(found.numpy()), expected)


class Mixed(nn.Module):
    """Convolutions with and without bias and ReLU, a sum, an average and linear layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, bias=False)
        self.skip, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 6)
        self.tokens = nn.Linear(8, 5, bias=False)

    def forward(self, x):
        y = self.inner(F.relu(self.stem(x)))
        z = y + self.skip(x)
        average = F.adaptive_avg_pool2d(F.relu(z), 1)
        tokens = self.tokens(F.relu(z).flatten(2).transpose(1, 2))
        return y, z, self.head(average.flatten(1)), tokens


class OneDimensional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 8, 5, 2, bias=False), nn.Conv1d(8, 8, 3, dilation=2)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.second(x), x


class ThreeDimensional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv3d(2, 6, 3, padding=1), nn.Conv3d(6, 4, 2, groups=2)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


def wide():
    """4,608 products a sum, all of one sign."""
    model = nn.Sequential(nn.Conv2d(512, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    nn.init.uniform_(model[0].weight, 0.9, 1.0)
    return model


def centred(shape):
    return torch.randn(shape)


def positive(shape):
    return torch.rand(shape)


def negative(shape):
    return -torch.rand(shape)


CASES = {
    "centred": (Mixed, centred, (8, 3, 9, 9)),
    "zero point 0": (Mixed, positive, (8, 3, 9, 9)),
    "zero point 255": (Mixed, negative, (8, 3, 9, 9)),
    "one dimension": (OneDimensional, centred, (8, 3, 40)),
    "three dimensions": (ThreeDimensional, centred, (4, 2, 5, 5, 5)),
    "wide": (wide, positive, (4, 512, 4, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_each_integer_equals_onnx_runtimes(case, tmp_path):
    make, inputs_of, shape = CASES[case]
    torch.manual_seed(len(case))
    x = inputs_of(shape)
    prepared = calibrate(prepare_qat(make().eval(), ONNX, (x[:1],)), [x], minmax)
    saved = CompressedModel(
        module=prepared, example_inputs=(x[:1],), samples=(x,), scheme=ONNX
    ).save(tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    artifact = exporting.target("onnx-cpu").steps[0].export(saved, tmp_path / "onnx")
    with TorchRunner().open(saved) as reference, OnnxRunner().open(artifact) as session:
        for row in x:
            pairs = zip(reference(row[None].numpy()), session(row[None].numpy()), strict=True)
            for output, (expected, found) in zip(saved.outputs, pairs, strict=True):
                steps = np.rint((found - expected) / output.scale)
                assert np.count_nonzero(steps) == 0
    assert OnnxRunner().census(artifact).integer_share == 1


class WithoutStride(nn.Module):
    """Its window is given alone; torch records no stride, which then is the window's."""

    def forward(self, x):
        return F.avg_pool2d(x, (2, 2))


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), WithoutStride()])
@pytest.mark.parametrize(
    ("integers", "zero", "even", "away"),
    [
        ([10, 11, 10, 11], 0, 10, 11),  # 10.5
        ([-11, -10, -11, -10], 0, -10, -11),  # -10.5
        ([-3, -2, -3, -2], -128, -2, -3),  # -2.5; without the zero point 125.5, to even 126
        ([-128, -128, -128, -125], -128, -127, -127),  # -127.25
    ],
)
def test_averages_of_tflite_round_half_away_from_zero(pool, integers, zero, even, away):
    """TFLite averages the stored integers; ONNX Runtime what they mean, to even."""
    grid = FrozenFakeQuantize.of_spec(
        torch.tensor(0.5), torch.tensor(zero), QuantSpec(symmetric=False)
    )
    x = (torch.tensor(integers, dtype=torch.float32).view(1, 1, 2, 2) - zero) * 0.5
    graph = torch.export.export(nn.Sequential(grid, pool, grid).eval(), (x,)).module()
    for whole, wanted in ((False, even), (True, away)):
        found = IntegerProgram(graph, whole_numbers=whole).run(x)
        assert (found / 0.5 + zero).item() == wanted


@pytest.mark.parametrize(
    ("a", "b", "ratio_a", "ratio_b", "expected"),
    [
        (1, 2, 0.5, 1.0, 3),  # 2.5, half up
        (-1, -2, 0.5, 1.0, -2),  # -2.5, half up
        (3, 1, 1.0, 2.0**-21, 3),  # 3 + 2^-21: the second multiplier rounds to 0 of 2^-20
        (1, 0, 0.5 - 2.0**-23, 1.0, 1),  # just below 0.5, and 0.5 once the multiplier is rounded
    ],
)
def test_sums_of_xnnpack_have_multipliers_of_21_bits(a, b, ratio_a, ratio_b, expected):
    steps = torch.tensor(float(a)), torch.tensor(float(b))
    assert whole_sum(steps, (torch.tensor(ratio_a), torch.tensor(ratio_b))).item() == expected


class ReshapedWeight(nn.Module):
    """A convolution whose weight is rounded as rows and read as filters."""

    def __init__(self, axis):
        super().__init__()
        self.before, self.after = activation(0.25, 128), activation(0.1, 128)
        scales = torch.tensor([0.25, 0.5])
        spec = QuantSpec(axis=axis, narrow=True)
        self.round = FrozenFakeQuantize.of_spec(scales, torch.zeros(2), spec)
        self.shape = (1, 2, 4) if axis else (2, 4)
        self.weight = nn.Parameter(torch.randint(-9, 9, (2, 1, 2, 2)) * scales.view(2, 1, 1, 1))

    def forward(self, x):
        weight = self.round(self.weight.reshape(self.shape)).reshape_as(self.weight)
        return self.after(F.conv2d(self.before(x), weight))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_that_is_reshaped_after_its_quantiser_is_multiplied_on_integers(axis):
    torch.manual_seed(0)
    model = ReshapedWeight(axis).requires_grad_(False)
    x = torch.randint(-60, 60, (1, 1, 6, 6)) * 0.25
    run = program(model, x)
    convolution = next(n for n in run.module.graph.nodes if "conv2d" in str(n.target))
    assert run._on_integers(convolution, run._grid(next(iter(convolution.users)))) is not None
    sums = F.conv2d(x.double(), model.weight.double())
    steps = torch.round(sums.float() * (1 / torch.tensor(0.1))).clamp(-128, 127)
    assert (torch.round(run.run(x) / 0.1) - steps).abs().max() <= 1


def test_a_weight_whose_scales_no_longer_lie_along_its_channels_is_left_in_floats():
    model = ReshapedWeight(0).requires_grad_(False)
    model.shape = (4, 2)
    model.round = FrozenFakeQuantize.of_spec(
        torch.full((4,), 0.25), torch.zeros(4), QuantSpec(axis=0, narrow=True)
    )
    run = program(model, torch.zeros(1, 1, 6, 6))
    convolution = next(n for n in run.module.graph.nodes if "conv2d" in str(n.target))
    assert run._on_integers(convolution, run._grid(next(iter(convolution.users)))) is None
