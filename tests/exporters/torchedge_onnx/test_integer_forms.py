"""Both graphs run literally in ONNX Runtime, with scales of powers of two: no sum is rounded."""

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from torchedge_onnx.integer_forms import flatten_integers, fold_padding, transpose_weights
from torchedge_onnx.subpixel import subpixel_convolutions

SMALL = settings(max_examples=100)
seeds = st.integers(0, 2**16)


def graph(nodes, initialisers, shape):
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(v), n) for n, v in initialisers.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def run(model, x):
    import onnxruntime

    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def operations(model):
    return [node.op_type for node in model.graph.node]


def activations(shape, seed):
    return np.random.default_rng(seed).integers(-40, 40, shape).astype(np.float32) / 8


def quantizer(source, result, name):
    scale, zero = f"{name}_scale", f"{name}_zero"
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [f"{name}_integers"]),
        helper.make_node("DequantizeLinear", [f"{name}_integers", scale, zero], [result]),
    ]


def dequantizer(name, axis):
    inputs = [f"{name}_integers", f"{name}_scale", f"{name}_zero"]
    return helper.make_node("DequantizeLinear", inputs, [name], axis=axis)


def weights(rng, shape, axis, name="weight"):
    channels = shape[axis]
    return {
        f"{name}_integers": rng.integers(-127, 128, shape).astype(np.int8),
        f"{name}_scale": np.float32(2.0) ** rng.integers(-8, -4, channels).astype(np.float32),
        f"{name}_zero": np.zeros(channels, np.int8),
    }


def transposed_convolution(
    *, shape, outputs, kernel, bias=True, relu=True, quantised=True, seed=0, **options
):
    rng = np.random.default_rng(seed)
    values = weights(rng, (shape[1], outputs // options.get("group", 1), *kernel), axis=1)
    chain = [dequantizer("weight", axis=1)]
    inputs = ["x", "weight"]
    if bias:
        values |= {
            "bias_integers": rng.integers(-999, 999, outputs).astype(np.int32),
            "bias_scale": np.full(outputs, 2.0**-8, np.float32),
            "bias_zero": np.zeros(outputs, np.int32),
        }
        chain.append(dequantizer("bias", axis=0))
        inputs.append("bias")
    names = ["conv", *(["relu"] if relu else [])]
    result = names[-1] if quantised else "y"
    if relu:
        chain.append(helper.make_node("ConvTranspose", inputs, ["conv"], **options))
        chain.append(helper.make_node("Relu", ["conv"], [result]))
    else:
        chain.append(helper.make_node("ConvTranspose", inputs, [result], **options))
    if quantised:
        values |= {"out_scale": np.float32(0.5), "out_zero": np.uint8(100 - 100 * relu)}
        chain += quantizer(result, "y", "out")
    return graph(chain, values, shape)


@SMALL
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    extra=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
    relu=st.booleans(),
    quantised=st.booleans(),
    seed=seeds,
)
def test_a_subpixel_convolution_computes_what_the_transposed_one_did(
    kernel, stride, padding, extra, size, bias, relu, quantised, seed
):
    assume(max(extra) < stride)
    ends = [
        stride * (size[d] - 1) + kernel[d] + extra[d] - padding[d] - padding[d + 2]
        for d in range(2)
    ]
    assume(min(ends) >= 1)
    shape = (1, 2, *size)
    model = transposed_convolution(
        shape=shape,
        outputs=3,
        kernel=kernel,
        bias=bias,
        relu=relu,
        quantised=quantised,
        seed=seed,
        strides=[stride, stride],
        pads=list(padding),
        output_padding=list(extra),
    )
    rewritten = subpixel_convolutions(model)
    assert "ConvTranspose" not in operations(rewritten)
    x = activations(shape, seed)
    assert np.array_equal(run(rewritten, x), run(model, x))


@pytest.mark.parametrize(
    "options",
    [
        {"group": 2, "strides": [2, 2]},
        {"dilations": [2, 2], "strides": [2, 2]},
        {"strides": [2, 1]},
    ],
)
def test_other_transposed_convolutions_stay_as_they_are(options):
    model = transposed_convolution(shape=(1, 4, 5, 5), outputs=4, kernel=(3, 3), **options)
    rewritten = subpixel_convolutions(model)
    assert operations(rewritten) == operations(model)
    x = activations((1, 4, 5, 5), 0)
    assert np.array_equal(run(rewritten, x), run(model, x))


def test_a_float_transposed_convolution_stays_as_it_is():
    node = helper.make_node("ConvTranspose", ["x", "weight"], ["y"], strides=[2, 2])
    model = graph([node], {"weight": np.ones((2, 3, 2, 2), np.float32)}, (1, 2, 3, 3))
    assert operations(subpixel_convolutions(model)) == ["ConvTranspose"]


def padded_convolution(shape, widths, *, value=None, mode="constant", pads=None, axes=None):
    spatial = len(shape) - 2
    values = {
        "widths": np.array(widths, np.int64),
        **weights(np.random.default_rng(0), (3, 2, *[2] * spatial), 0),
    }
    inputs = ["x", "widths"]
    if value is not None or axes is not None:
        values["value"] = np.float32(value or 0)
        inputs.append("value")
    if axes is not None:
        values["axes"] = np.array(axes, np.int64)
        inputs.append("axes")
    nodes = [
        helper.make_node("Pad", inputs, ["padded"], mode=mode),
        dequantizer("weight", axis=0),
        helper.make_node("Conv", ["padded", "weight"], ["y"], pads=pads or [0] * 2 * spatial),
    ]
    return graph(nodes, values, shape)


@SMALL
@given(
    size=st.lists(st.integers(2, 5), min_size=1, max_size=3),
    draws=st.lists(st.integers(0, 2), min_size=12, max_size=12),
    value=st.sampled_from([None, 0.0]),
)
def test_folded_padding_computes_what_the_pad_did(size, draws, value):
    shape, spatial = (1, 2, *size), len(size)
    begins, ends = draws[:spatial], draws[3 : 3 + spatial]
    own = draws[6 : 6 + 2 * spatial]
    model = padded_convolution(shape, [0, 0, *begins, 0, 0, *ends], value=value, pads=own)
    folded = fold_padding(model)
    assert "Pad" not in operations(folded)
    x = activations(shape, sum(draws))
    assert np.array_equal(run(folded, x), run(model, x))


@pytest.mark.parametrize(
    ("widths", "options"),
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], {"value": 1.0}),
        ([0, 0, -1, 0, 0, 0, 0, -1], {}),
        ([0, 1, 1, 1, 0, -1, 1, 1], {}),
        ([1, 0, 1, 1, 0, 0, 1, 1], {}),
        ([0, 0, 1, 1, 0, 0, 1, 1], {"mode": "reflect"}),
        ([0, 0, 1, 1, 0, 0, 1, 1], {"mode": "edge"}),
        ([1, 1, 1, 1], {"axes": [2, 3]}),
    ],
    ids=["ones", "crop", "channels", "batch", "reflect", "edge", "axes"],
)
def test_other_pads_stay_as_they_are(widths, options):
    model = padded_convolution((1, 2, 4, 4), widths, **options)
    folded = fold_padding(model)
    assert operations(folded) == operations(model)
    x = activations((1, 2, 4, 4), 0)
    assert np.array_equal(run(folded, x), run(model, x))


def test_a_pad_with_two_readers_stays_for_the_other_one():
    model = padded_convolution((1, 2, 4, 4), [0, 0, 1, 1, 0, 0, 1, 1])
    model.graph.node.append(helper.make_node("Relu", ["padded"], ["kept"]))
    model.graph.output.append(helper.make_tensor_value_info("kept", TensorProto.FLOAT, None))
    model = onnx.shape_inference.infer_shapes(model)
    folded = fold_padding(model)
    assert operations(folded).count("Pad") == 1
    x = activations((1, 2, 4, 4), 0)
    assert np.array_equal(run(folded, x), run(model, x))


@SMALL
@given(inputs=st.integers(1, 5), outputs=st.integers(1, 5), per_channel=st.booleans(), seed=seeds)
def test_transposed_integers_mean_the_same_weights(inputs, outputs, per_channel, seed):
    values = weights(np.random.default_rng(seed), (outputs, inputs), axis=0)
    if not per_channel:
        values |= {"weight_scale": np.float32(0.25), "weight_zero": np.int8(0)}
    nodes = [
        dequantizer("weight", axis=0),
        helper.make_node("Transpose", ["weight"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    model = graph(nodes, values, (2, 3, inputs))
    turned = transpose_weights(model)
    assert operations(turned) == ["DequantizeLinear", "MatMul"]
    x = activations((2, 3, inputs), seed)
    assert np.array_equal(run(turned, x), run(model, x))


@SMALL
@given(inputs=st.integers(1, 5), outputs=st.integers(1, 5), seed=seeds)
def test_a_float_weight_before_its_pair_is_stored_transposed_too(inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    values = weights(rng, (outputs, inputs), axis=0)
    values["weight"] = rng.standard_normal((outputs, inputs)).astype(np.float32)
    numbers = ["weight_scale", "weight_zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["weight", *numbers], ["integers"], axis=0),
        helper.make_node("DequantizeLinear", ["integers", *numbers], ["real"], axis=0),
        helper.make_node("Transpose", ["real"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    model = graph(nodes, values, (2, 3, inputs))
    turned = transpose_weights(model)
    assert operations(turned) == ["QuantizeLinear", "DequantizeLinear", "MatMul"]
    x = activations((2, 3, inputs), seed)
    assert np.array_equal(run(turned, x), run(model, x))


def test_the_transposition_of_an_activation_stays():
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])
    assert operations(transpose_weights(graph([node], {}, (2, 3)))) == ["Transpose"]


@pytest.mark.parametrize("rewrite", [fold_padding, transpose_weights, subpixel_convolutions])
def test_a_rewrite_leaves_its_argument_as_it_was(rewrite):
    for model in (
        padded_convolution((1, 2, 4, 4), [0, 0, 1, 1, 0, 0, 1, 1]),
        transposed_convolution(shape=(1, 2, 3, 3), outputs=2, kernel=(2, 2), strides=[2, 2]),
    ):
        before = model.SerializeToString()
        rewrite(model)
        assert model.SerializeToString() == before


def quantised_padding(filling=0.0, zero_point=0):
    nodes = [
        helper.make_node("Pad", ["x", "pads", "filling"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    weight = np.random.default_rng(1).normal(size=(1, 1, 3, 3)).astype(np.float32)
    values = {"pads": np.array([0, 0, 0, 1, 0, 0, 1, 1]), "s": np.float32(0.5), "w": weight}
    values |= {"z": np.int8(zero_point), "filling": np.float32(filling)}
    return graph(nodes, values, (1, 1, 4, 4))


def test_a_pad_is_folded_through_a_symmetric_pair_and_computes_the_same():
    model = quantised_padding()
    folded = fold_padding(model, through_quantizers=True)
    assert operations(folded) == ["QuantizeLinear", "DequantizeLinear", "Conv"]
    x = np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(run(folded, x), run(model, x), rtol=1e-6)
    assert operations(fold_padding(model))[0] == "Pad"


@pytest.mark.parametrize("different", [{"filling": 0.7}, {"zero_point": 3}])
def test_a_pad_with_something_else_than_the_grids_zero_stays_before_the_pair(different):
    model = quantised_padding(**different)
    assert operations(fold_padding(model, through_quantizers=True)) == operations(model)


def pooled_and_flattened(result, *further):
    held = {"q_scale": np.float32(0.25), "q_zero": np.uint8(40)}
    made = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        *quantizer("flat", result, "q"),
        *further,
    ]
    return graph(made, held, [2, 3, 4, 4])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("inside", [True, False])
def test_an_average_is_quantised_before_it_is_flattened(seed, inside):
    further = [helper.make_node("Relu", ["real"], ["y"])] if inside else []
    model = pooled_and_flattened("real" if inside else "y", *further)
    moved, x = flatten_integers(model), activations([2, 3, 4, 4], seed)
    order = ["GlobalAveragePool", "QuantizeLinear", "DequantizeLinear", "Reshape"]
    assert operations(moved)[:4] == order
    assert not inside or moved.graph.node[2].output[0] == "real"
    assert [o.name for o in moved.graph.output] == ["y"]
    np.testing.assert_array_equal(run(moved, x), run(model, x))


def test_an_average_that_is_read_as_float_too_stays_as_it_is():
    model = pooled_and_flattened("real", helper.make_node("Add", ["real", "flat"], ["y"]))
    assert operations(flatten_integers(model)) == operations(model)
