"""Single operators, against ONNX Runtime on the same model: equal, or refused by name."""

import warnings

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from benchmarks.onnx_operators import subjects
from torchedge.errors import TorchedgeError
from torchedge_tflite.lowering.program import lowered

FLOAT = TensorProto.FLOAT


def answers_of_onnx_runtime(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def answers_of_litert(data, model, x):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    stored = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    interpreter.set_tensor(port["index"], np.ascontiguousarray(stored))
    interpreter.invoke()
    details = interpreter.get_signature_runner().get_output_details()
    found = [interpreter.get_tensor(details[value.name]["index"]) for value in model.graph.output]
    return [np.moveaxis(y, -1, 1) if y.ndim > 2 else y for y in found]


def as_lowered(model):
    """The file of a float graph, or ``None`` where it is refused."""
    try:
        return lowered(shape_inference.infer_shapes(model)).data
    except TorchedgeError:
        return None


def require_same(model, x):
    data = as_lowered(model)
    if data is None:
        return False
    for found, wanted in zip(
        answers_of_litert(data, model, x), answers_of_onnx_runtime(model, [x]), strict=True
    ):
        assert found.shape == wanted.shape
        far = 1e-4 * np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=far)
    return True


@pytest.mark.slow
def test_onnxs_own_operator_models_are_answered_as_onnx_runtime_does_or_refused(litert):
    """Rules that passed over attributes once made another function of 34 of them, silently."""
    equal, wrong = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried = [s for s in subjects() if len(s.inputs) == 1 and s.inputs[0].dtype == np.float32]
        for subject in tried:
            try:
                equal += require_same(subject.model, subject.inputs[0])
            except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
                continue  # nothing to compare with
            except Exception as error:  # all that differ are named at once
                wrong.append(f"{subject.name}: {type(error).__name__} {str(error)[:90]}")
    assert wrong == []
    assert equal > 200


def one_node(kind, constants=(), shape=(1, 4, 7, 7), outputs=("y",), **attributes):
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(kind, ["x", *names], list(outputs), **attributes)
    held = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(names, constants, strict=True)
    ]
    kinds = [FLOAT, TensorProto.INT64]  # a second result holds places
    ports = [
        helper.make_tensor_value_info(*pair, None) for pair in zip(outputs, kinds, strict=False)
    ]
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info("x", FLOAT, shape)], ports, held
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


FILTER = np.random.default_rng(0).standard_normal((5, 4, 3, 3)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((1, 4, 7, 7)).astype(np.float32)


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_borders_that_a_file_leaves_to_a_rule_are_those_of_the_rule(litert, rule, stride):
    model = one_node("Conv", [FILTER], auto_pad=rule, strides=[stride, stride])
    assert require_same(model, X)
    pool = one_node("MaxPool", auto_pad=rule, kernel_shape=[2, 3], strides=[stride, stride])
    assert require_same(pool, X)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (one_node("Elu", alpha=2.0), "alpha=2.0"),
        (one_node("MaxPool", kernel_shape=[2, 2], outputs=("y", "z")), "also returns 'z'"),
        (one_node("Pad", [np.array([0, 0, -1, 0, 0, 0, 0, 0])]), "negative numbers"),
        (
            one_node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1,
                     count_include_pad=1, shape=(1, 4, 8, 8)),
            "rounds its number of windows up",
        ),
        (one_node("Dropout", [np.float32(0.5), np.array(True)]), "at random"),
    ],
)  # fmt: skip
def test_what_the_rules_do_not_know_is_refused_by_its_name(model, said):
    with pytest.raises(TorchedgeError, match=said):
        lowered(shape_inference.infer_shapes(model))


@pytest.mark.parametrize("places", ["asymmetric", "half_pixel", "align_corners"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("size", [3, 7, 14, 10])
def test_nearest_pixels_are_onnxs_whatever_its_rule(litert, places, rounding, size):
    empty = np.zeros(0, np.float32)
    model = one_node(
        "Resize",
        [empty, empty, np.array([1, 4, size, size])],
        mode="nearest",
        coordinate_transformation_mode=places,
        nearest_mode=rounding,
    )
    assert require_same(model, X)


def test_a_clip_behind_a_second_name_does_not_clip_the_first(litert):
    """The convolution has one tensor under two names; only one of them is clipped."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Transpose", ["y"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("Relu", ["t"], ["clipped"]),
        helper.make_node("Add", ["y", "clipped"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two names",
        [helper.make_tensor_value_info("x", FLOAT, X.shape)],
        [helper.make_tensor_value_info("sum", FLOAT, None)],
        [numpy_helper.from_array(FILTER, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    assert require_same(model, X)
