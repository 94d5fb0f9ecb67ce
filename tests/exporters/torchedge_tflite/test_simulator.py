"""The simulator against tflite-micro itself: random operators on random integers, all equal."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exporters.torchedge_tflite.files import Tensor, file_of
from tests.exporters.torchedge_tflite.networks import INPUT_SHAPES
from torchedge.errors import ArtifactError, ExportError
from torchedge.reference.whole_numbers import fixed_point_product
from torchedge_tflite.flatbuffer import parse
from torchedge_tflite.simulator import Simulator, unknown_operators
from torchedge_tflite.simulator.fixed_point import multiplier, rescaled
from torchedge_tflite.step import MODEL_FILE

pytestmark = pytest.mark.usefixtures("litert", "micro_runtime")

SAME_PADDING, VALID_PADDING = 0, 1
ROOM = 1 << 20
BOTTOM = -128


class Draw:
    """Shapes, scales and integers of one random operator."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def whole(self, low, high):
        return int(self.random.integers(low, high + 1))

    def chance(self):
        return bool(self.random.integers(2))

    def scale(self, low=-7.0, high=-2.0):
        return float(np.float32(np.exp(self.random.uniform(low, high))))

    def zero(self):
        return self.whole(-128, 127)

    def grid(self, shape, **changes):
        return Tensor(shape, **{"scale": self.scale(), "zero_point": self.zero(), **changes})

    def integers(self, shape):
        return self.random.integers(-128, 128, shape).astype(np.int8)

    def picture(self):
        return 1, self.whole(1, 9), self.whole(1, 9), self.whole(1, 6)

    def weight(self, shape, axis, *, per_channel=True):
        count = shape[axis] if per_channel else 1
        scales = tuple(self.scale(-8, -3) for _ in range(count))
        values = self.random.integers(-127, 128, shape).astype(np.int8)
        return Tensor(shape, scales, axis=axis, values=values)

    def bias(self, x, weight, channels):
        scales = np.float32(x.scale) * np.array(weight.scale, np.float32)
        values = self.random.integers(-2000, 2001, channels).astype(np.int32)
        return Tensor((channels,), tuple(scales.ravel()), dtype="int32", values=values)

    def activation(self):
        return self.whole(0, 3)


def slid(size, kernel, stride, dilation, padding):
    if padding == SAME_PADDING:
        return -(-size // stride)
    return (size - (kernel - 1) * dilation - 1) // stride + 1


def convolution(draw):
    batch, height, width, channels = draw.picture()
    outputs, padding = draw.whole(1, 6), draw.whole(0, 1)
    kernel = draw.whole(1, height), draw.whole(1, width)
    stride = draw.whole(1, 3), draw.whole(1, 3)
    x = draw.grid((batch, height, width, channels))
    weight = draw.weight((outputs, *kernel, channels), 0)
    bias = draw.bias(x, weight, outputs) if draw.chance() else None
    sizes = [slid(*args, 1, padding) for args in zip((height, width), kernel, stride, strict=True)]
    y = draw.grid((batch, *sizes, outputs), scale=draw.scale(-4, 1))
    options = {
        "strideH": stride[0],
        "strideW": stride[1],
        "padding": padding,
        "fusedActivationFunction": draw.activation(),
        "dilationHFactor": 1,
        "dilationWFactor": 1,
    }
    return "CONV_2D", [x, weight, bias], [y], ("Conv2DOptions", options)


def dilated_convolution(draw):
    _, (x, weight, bias), _, (kind, options) = convolution(draw)
    dilation = draw.whole(1, 3), draw.whole(1, 3)
    sizes = [
        slid(x.shape[i + 1], weight.shape[i + 1], 1, dilation[i], SAME_PADDING) for i in (0, 1)
    ]
    y = draw.grid((1, *sizes, weight.shape[0]), scale=draw.scale(-4, 1))
    changed = {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
    changed |= {"strideH": 1, "strideW": 1, "padding": SAME_PADDING}
    return "CONV_2D", [x, weight, bias], [y], (kind, options | changed)


def grouped_convolution(draw):
    _, (x, weight, _), (y,), options = convolution(draw)
    groups, each = draw.whole(2, 4), draw.whole(1, 3)
    x = draw.grid((*x.shape[:3], groups * weight.shape[3]))
    weight = draw.weight((groups * each, *weight.shape[1:]), 0)
    bias = draw.bias(x, weight, groups * each)
    y = draw.grid((*y.shape[:3], groups * each), scale=y.scale)
    return "CONV_2D", [x, weight, bias], [y], options


def depthwise(draw):
    _, (x, weight, _), (y,), (_, options) = convolution(draw)
    channels, times = x.shape[3], draw.whole(1, 3)
    weight = draw.weight((1, *weight.shape[1:3], channels * times), 3)
    bias = draw.bias(x, weight, channels * times)
    y = draw.grid((*y.shape[:3], channels * times), scale=y.scale)
    options = {**options, "depthMultiplier": times}
    return "DEPTHWISE_CONV_2D", [x, weight, bias], [y], ("DepthwiseConv2DOptions", options)


def dense(draw):
    rows, inputs, outputs = draw.whole(1, 3), draw.whole(1, 300), draw.whole(1, 9)
    x = draw.grid((rows, inputs))
    weight = draw.weight((outputs, inputs), 0, per_channel=draw.chance())
    bias = draw.bias(x, weight, outputs) if draw.chance() else None
    y = draw.grid((rows, outputs), scale=draw.scale(-3, 1))
    options = {"fusedActivationFunction": draw.activation()}
    return "FULLY_CONNECTED", [x, weight, bias], [y], ("FullyConnectedOptions", options)


def pair(name, kind):
    def made(draw):
        shape = draw.picture()
        narrow = (1, 1, 1, shape[3]) if draw.chance() else shape
        options = {"fusedActivationFunction": draw.activation()}
        # Squares of scales, so that the product of two operands fits its result.
        y = draw.grid(shape, scale=draw.scale(-5, -1))
        return name, [draw.grid(shape), draw.grid(narrow)], [y], (kind, options)

    made.__name__ = name
    return made


def pool(name):
    def made(draw):
        shape, padding = draw.picture(), draw.whole(0, 1)
        kernel = draw.whole(1, shape[1]), draw.whole(1, shape[2])
        stride = draw.whole(1, 3), draw.whole(1, 3)
        sizes = [slid(*args, 1, padding) for args in zip(shape[1:3], kernel, stride, strict=True)]
        x = draw.grid(shape)
        y = Tensor((1, *sizes, shape[3]), x.scale, x.zero_point)
        names = "filterHeight", "filterWidth", "strideH", "strideW", "padding"
        options = dict(zip(names, (*kernel, *stride, padding), strict=True))
        options["fusedActivationFunction"] = draw.activation()
        return name, [x], [y], ("Pool2DOptions", options)

    made.__name__ = name
    return made


def mean(draw):
    shape, keep = draw.picture(), draw.chance()
    axes = np.array([(1, 2), (2,), (1,)][draw.whole(0, 2)], np.int32)
    kept = [1 if i in axes else size for i, size in enumerate(shape)]
    dropped = [size for i, size in enumerate(shape) if i not in axes]
    x = draw.grid(shape)
    result = tuple(kept if keep else dropped)
    y = Tensor(result, x.scale, x.zero_point) if draw.chance() else draw.grid(result)
    constant = Tensor(axes.shape, dtype="int32", values=axes)
    return "MEAN", [x, constant], [y], ("ReducerOptions", {"keepDims": keep})


def curve(name, scale, zero_point, options=None, low=-5.0, high=1.0):
    def made(draw):
        shape = draw.picture()
        x = draw.grid(shape, scale=draw.scale(low, high))
        y = draw.grid(shape) if scale is None else Tensor(shape, scale, zero_point)
        return name, [x], [y], options

    made.__name__ = name
    return made


def hard_swish(draw):
    """The device refuses a result that is finer than the operand by more than 2^7."""
    shape, scale = draw.picture(), draw.scale(-5, 0)
    y = draw.grid(shape, scale=scale * float(np.exp(draw.random.uniform(-4, 2))))
    return "HARD_SWISH", [draw.grid(shape, scale=scale)], [y], ("HardSwishOptions", {})


def leaky_relu(draw):
    shape = draw.picture()
    options = {"alpha": float(np.float32(draw.random.uniform(0.01, 0.9)))}
    return "LEAKY_RELU", [draw.grid(shape)], [draw.grid(shape)], ("LeakyReluOptions", options)


def resized(name, kind):
    def made(draw):
        shape = draw.picture()
        size = np.array([draw.whole(1, 20), draw.whole(1, 20)], np.int32)
        x = draw.grid(shape)
        y = Tensor((1, *size, shape[3]), x.scale, x.zero_point)
        sampling = draw.whole(0, 2)
        options = {"alignCorners": sampling == 1, "halfPixelCenters": sampling == 2}
        return name, [x, Tensor((2,), dtype="int32", values=size)], [y], (kind, options)

    made.__name__ = name
    return made


def moved(name, result, constants=(), options=None):
    """An operator that keeps grid and integers; ``result`` and constants come from the draw."""

    def made(draw):
        shape = (1, 2 * draw.whole(1, 3), 2 * draw.whole(1, 3), 4 * draw.whole(1, 2))
        x = draw.grid(shape)
        given = [Tensor(v.shape, dtype="int32", values=v) for v in (c(shape) for c in constants)]
        return name, [x, *given], [Tensor(result(shape), x.scale, x.zero_point)], options

    made.__name__ = name
    return made


def whole_numbers(*values):
    return np.array(values, np.int32)


def concatenation(draw):
    shape = draw.picture()
    x = draw.grid(shape)
    other = Tensor((*shape[:3], draw.whole(1, 4)), x.scale, x.zero_point)
    y = Tensor((*shape[:3], shape[3] + other.shape[3]), x.scale, x.zero_point)
    return (
        "CONCATENATION",
        [x, other],
        [y],
        ("ConcatenationOptions", {"axis": draw.whole(0, 1) * 4 - 1}),
    )


def split(draw):
    shape = (1, draw.whole(1, 4), draw.whole(1, 4), 4)
    x = draw.grid(shape)
    axis = Tensor((), dtype="int32", values=np.array(3, np.int32))
    part = Tensor((*shape[:3], 2), x.scale, x.zero_point)
    return "SPLIT", [axis, x], [part, part], ("SplitOptions", {"numSplits": 2})


OPERATORS = [
    convolution,
    dilated_convolution,
    grouped_convolution,
    depthwise,
    dense,
    pair("ADD", "AddOptions"),
    pair("SUB", "SubOptions"),
    pair("MUL", "MulOptions"),
    pool("AVERAGE_POOL_2D"),
    pool("MAX_POOL_2D"),
    mean,
    curve("LOGISTIC", 1 / 256, -128),
    curve("TANH", 1 / 128, 0),
    hard_swish,
    curve("SOFTMAX", 1 / 256, -128, ("SoftmaxOptions", {"beta": 1.0})),
    curve("QUANTIZE", None, None, ("QuantizeOptions", {})),
    curve("RELU", None, None),
    curve("RELU6", None, None),
    leaky_relu,
    resized("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    resized("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    concatenation,
    split,
    moved(
        "PAD",
        lambda s: (1, s[1] + 1, s[2] + 3, s[3]),
        [lambda s: whole_numbers([0, 0], [1, 0], [1, 2], [0, 0])],
        ("PadOptions", {}),
    ),
    moved("RESHAPE", lambda s: (1, s[1] * s[2] * s[3]), [lambda s: whole_numbers(1, -1)]),
    moved(
        "TRANSPOSE",
        lambda s: (1, s[3], s[1], s[2]),
        [lambda s: whole_numbers(0, 3, 1, 2)],
        ("TransposeOptions", {}),
    ),
    moved(
        "SLICE",
        lambda s: (1, s[1], 1, s[3] - 2),
        [lambda s: whole_numbers(0, 0, 1, 1), lambda s: whole_numbers(1, -1, 1, s[3] - 2)],
        ("SliceOptions", {}),
    ),
    moved(
        "STRIDED_SLICE",
        lambda s: (1, s[2], s[3] // 2),
        [
            lambda s: whole_numbers(0, 1, 7, 1),
            lambda s: whole_numbers(1, 2, 7, s[3]),
            lambda s: whole_numbers(1, 1, 1, 2),
        ],
        ("StridedSliceOptions", {"beginMask": 4, "endMask": 4, "shrinkAxisMask": 2}),
    ),
    moved(
        "DEPTH_TO_SPACE",
        lambda s: (1, 2 * s[1], 2 * s[2], s[3] // 4),
        (),
        ("DepthToSpaceOptions", {"blockSize": 2}),
    ),
    moved(
        "SPACE_TO_DEPTH",
        lambda s: (1, s[1] // 2, s[2] // 2, 4 * s[3]),
        (),
        ("SpaceToDepthOptions", {"blockSize": 2}),
    ),
    moved("SQUEEZE", lambda s: s[1:], (), ("SqueezeOptions", {"squeezeDims": whole_numbers(0)})),
    moved(
        "EXPAND_DIMS",
        lambda s: (1, *s),
        [lambda s: np.array(0, np.int32)],
        ("ExpandDimsOptions", {}),
    ),
]


def device_answers(data, inputs):
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(data, arena_size=ROOM)
    for place, array in enumerate(inputs):
        interpreter.set_input(array, place)
    interpreter.invoke()
    flat = parse(data)
    return [np.array(interpreter.get_output(i)) for i in range(len(flat.outputs))]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda made: made.__name__.lower())
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_integer_of_an_operator_is_the_one_of_tflite_micro(operator, seed):
    draw = Draw(seed)
    data = file_of(*operator(draw))
    flat = parse(data)
    inputs = [draw.integers(flat.tensors[i].shape) for i in flat.inputs]
    wanted = device_answers(data, inputs)
    for found, expected in zip(Simulator(flat)(*inputs), wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_operator_that_is_not_simulated_is_refused_by_name():
    x = Tensor((1, 4), 0.1)
    flat = parse(file_of("CEIL", [x], [x]))
    assert unknown_operators(flat) == ("CEIL",)
    with pytest.raises(ExportError, match="knows no int8 CEIL"):
        Simulator(flat)


def test_a_known_operator_on_floats_is_not_simulated():
    x = Tensor((1, 4), dtype="float32")
    flat = parse(file_of("RELU", [x], [x]))
    assert unknown_operators(flat) == ("RELU",)


def test_an_input_with_channels_first_is_refused_with_both_shapes():
    x = Tensor((1, 4, 5, 2), 0.1)
    simulator = Simulator(parse(file_of("RELU", [x], [x])))
    with pytest.raises(ArtifactError, match=r"\(1, 4, 5, 2\).*\(1, 2, 4, 5\) was given"):
        simulator(np.zeros((1, 2, 4, 5), np.int8))


def test_two_roundings_differ_from_one():
    """0.3 is 0.6 / 2: the first rounding makes 1 of it, and the second 1 of the half."""
    assert rescaled(np.array([1]), multiplier(0.3)).tolist() == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*(kind.__name__ for kind in INPUT_SHAPES), "Residual", "FourBits"]
)
def test_whole_networks_equal_tflite_micro_in_every_output(exported, name):
    artifact = exported(name).tflite
    data = artifact.file(MODEL_FILE).read_bytes()
    flat = parse(data)
    simulator, draw = Simulator(flat), Draw(0)
    for _ in range(8):
        inputs = [draw.integers(flat.tensors[i].shape) for i in flat.inputs]
        for found, expected in zip(simulator(*inputs), device_answers(data, inputs), strict=True):
            np.testing.assert_array_equal(found, expected)


@given(st.integers(-(2**30), 2**30), st.floats(2**-20, 0.99))
def test_the_reference_rounds_products_of_matrices_as_gemmlowp_does(total, ratio):
    found = fixed_point_product(torch.tensor([total], dtype=torch.float64), ratio)
    assert found.item() == rescaled(np.array([total]), multiplier(ratio)).item()
