"""Rewrites are checked by running both graphs in ONNX's own reference implementation."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from torchedge.errors import ExportError
from torchedge_onnx import rewrites
from torchedge_onnx.graph import constants


def graph(nodes, initialisers, inputs, outputs, opset=18):
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            [numpy_helper.from_array(v, n) for n, v in initialisers.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9 if opset > 18 else 8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, **inputs):
    return ReferenceEvaluator(model).run(None, inputs)


def operations(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(("keepdims", "shape"), [(1, (1, 3, 1, 1)), (0, (1, 3))])
def test_a_mean_over_the_image_becomes_a_global_pool_with_the_same_values(keepdims, shape):
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)
    axes = {"axes": np.array([-2, -1])}
    model = graph([mean], axes, {"x": (1, 3, 4, 5)}, {"y": shape})
    rewritten = rewrites.mean_to_global_pool(model)
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(0).random((1, 3, 4, 5), dtype=np.float32)
    np.testing.assert_allclose(run(rewritten, x=x)[0], run(model, x=x)[0], rtol=1e-6)
    assert operations(rewritten)[0] == "GlobalAveragePool"


def test_a_mean_over_channels_stays_a_mean():
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=1)
    model = graph([mean], {"axes": np.array([1])}, {"x": (1, 3, 4, 5)}, {"y": (1, 1, 4, 5)})
    assert operations(rewrites.mean_to_global_pool(model)) == ["ReduceMean"]


def quantised_layer():
    """x → Q → DQ → Gemm(weight → Q → DQ) → Q → DQ, made by hand."""

    def pair(tensor, scale, zero, name, axis=0):
        return [
            helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"{name}_q"], axis=axis),
            helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [name], axis=axis),
        ]

    nodes = [
        *pair("x", "sx", "zx", "x_dq"),
        *pair("w", "sw", "zw", "w_dq"),
        helper.make_node("Gemm", ["x_dq", "w_dq", "b"], ["y_float"], transB=1),
        *pair("y_float", "sy", "zy", "y"),
    ]
    rng = np.random.default_rng(1)
    initialisers = {
        "w": rng.normal(size=(2, 3)).astype(np.float32),
        "b": rng.normal(size=2).astype(np.float32),
        "sx": np.float32(0.02),
        "zx": np.uint8(7),
        "sw": np.array([0.01, 0.03], np.float32),
        "zw": np.zeros(2, np.int8),
        "sy": np.float32(0.05),
        "zy": np.uint8(100),
    }
    return graph(nodes, initialisers, {"x": (1, 3)}, {"y": (1, 2)}, opset=19)


X = np.array([[0.5, -0.11, 2.4]], np.float32)


def test_folding_weights_keeps_every_value_and_stores_int8():
    model = quantised_layer()
    folded = rewrites.fold_weight_quantizers(model)
    assert np.array_equal(run(folded, x=X)[0], run(model, x=X)[0])
    assert constants(folded)["w_dq_q"].dtype == np.int8
    assert "w" not in constants(folded)
    assert operations(folded).count("QuantizeLinear") == 2


def test_own_zero_points_change_no_value():
    folded = rewrites.fold_weight_quantizers(quantised_layer())
    own = rewrites.with_own_zero_points(folded)
    assert np.array_equal(run(own, x=X)[0], run(folded, x=X)[0])
    assert "w_dq_zero_point" in constants(own)


@pytest.mark.parametrize("fold", [True, False])
def test_without_quantisers_the_weights_are_what_the_integers_mean(fold):
    model = quantised_layer()
    values = constants(model)
    steps = np.clip(np.rint(values["w"] / values["sw"][:, None]), -128, 127)
    expected = X @ (steps * values["sw"][:, None]).T.astype(np.float32) + values["b"]
    source = rewrites.fold_weight_quantizers(model) if fold else model
    plain = rewrites.without_quantizers(source)
    onnx.checker.check_model(plain, full_check=True)
    if fold:
        np.testing.assert_allclose(run(plain, x=X)[0], expected, rtol=1e-6)
    assert operations(plain) == ["Gemm"]
    assert [output.name for output in plain.graph.output] == ["y"]


def test_a_rewrite_leaves_its_argument_as_it_was():
    model = quantised_layer()
    before = model.SerializeToString()
    for rewrite in (
        rewrites.fold_weight_quantizers,
        rewrites.without_quantizers,
        rewrites.with_own_zero_points,
        rewrites.mean_to_global_pool,
        rewrites.without_metadata,
        lambda m: rewrites.lower_opset(m, 13),
    ):
        rewrite(model)
        assert model.SerializeToString() == before


def plain_network():
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["y"], allowzero=1),
    ]
    constants_ = {"axes": np.array([1]), "shape": np.array([1, -1])}
    return graph(nodes, constants_, {"x": (1, 3, 2, 2)}, {"y": (1, 4)})


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (17, 8), (18, 8), (20, 9)])
def test_a_lower_opset_computes_the_same_and_is_valid_there(opset, ir_version):
    model = plain_network()
    lowered = rewrites.lower_opset(model, opset)
    onnx.checker.check_model(lowered, full_check=True)
    assert (lowered.opset_import[0].version, lowered.ir_version) == (opset, ir_version)
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 2)).astype(np.float32)
    assert np.array_equal(run(lowered, x=x)[0], run(model, x=x)[0])


def test_an_operator_without_a_form_at_that_opset_is_refused_by_name():
    swish = helper.make_node("HardSwish", ["x"], ["y"], name="the_swish")
    model = graph([swish], {}, {"x": (1,)}, {"y": (1,)})
    with pytest.raises(ExportError, match="'the_swish' is HardSwish"):
        rewrites.lower_opset(model, 13)


@pytest.mark.parametrize("opset", [12, 21])
def test_an_opset_outside_the_range_is_refused(opset):
    with pytest.raises(ExportError, match=r"13…20"):
        rewrites.lower_opset(plain_network(), opset)


def test_an_operator_that_a_newer_opset_has_is_written_there():
    swish = helper.make_node("HardSwish", ["x"], ["y"], name="the_swish")
    model = graph([swish], {}, {"x": (1,)}, {"y": (1,)})
    assert operations(rewrites.lower_opset(model, 14)) == ["HardSwish"]


def test_paths_of_the_exporting_machine_are_dropped():
    model = plain_network()
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.stack_trace", "File /home/me/secret.py"
    model.graph.node[1].doc_string = "/home/me/secret.py"
    assert b"secret" not in rewrites.without_metadata(model).SerializeToString()


@pytest.mark.parametrize("opened", [True, False])
def test_a_bias_that_the_exporter_left_in_steps_of_arithmetic_is_stored_as_int32(opened):
    bias = np.array([0.3, -0.25, 0.125, 7.0], np.float32)
    scale = np.array([0.01, 0.1, 0.05, 0.002], np.float32)
    chain = [
        helper.make_node("Div", ["bias", "scale"], ["divided"]),
        helper.make_node("Round", ["divided"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["integers"], to=TensorProto.INT32),
        helper.make_node("DequantizeLinear", ["integers", "scale", "zero"], ["real"], axis=0),
        helper.make_node("Add", ["x", "real"], ["y"]),
    ]
    values = {"bias": bias, "scale": scale, "zero": np.zeros(4, np.int32)}
    inputs = {"x": (4,)}
    if not opened:
        inputs["bias"] = values.pop("bias").shape  # known only when it runs
    model = graph(chain, values, inputs, {"y": (4,)})
    folded = rewrites.fold_bias_quantizers(model)
    onnx.checker.check_model(folded, full_check=True)
    if not opened:
        assert operations(folded) == operations(model)
        return
    assert operations(folded) == ["DequantizeLinear", "Add"]
    (stored,) = [v for v in constants(folded).values() if v.dtype == np.int32 and v.any()]
    np.testing.assert_array_equal(stored, [30, -2, 2, 3500])  # halves go to the even one
