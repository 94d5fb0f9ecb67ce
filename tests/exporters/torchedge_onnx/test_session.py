"""Tensors inside a graph are read from ONNX Runtime without changing what it computes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from torchedge_onnx.session import open_observed

GROUPS = 16  # of two channels each, for which ONNX Runtime has no blocked layout


@pytest.fixture
def branches():
    """Two convolutions whose sum a third reads, as in a reparametrised block."""
    generator = np.random.default_rng(0)
    wide = 2 * GROUPS
    shapes = {"w0": (wide, 1, 7, 7), "w1": (wide, 1, 3, 3), "w2": (wide, wide, 1, 1)}
    shapes |= {f"b{index}": (wide,) for index in range(3)}
    weights = {n: generator.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    grouped = {"group": GROUPS, "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], pads=[3] * 4, **grouped),
        helper.make_node("Conv", ["x", "w1", "b1"], ["b"], pads=[1] * 4, **grouped),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Conv", ["sum", "w2", "b2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, GROUPS, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, wide, 4, 4))],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("names", [("a",), ("b",), ("sum",), ("a", "y"), ("y", "sum", "b", "a")])
def test_a_summand_of_two_convolutions_can_be_read(branches, names):
    x = np.random.default_rng(1).normal(size=(1, GROUPS, 8, 8)).astype(np.float32)
    found = open_observed(branches, names)(x)
    wanted = ReferenceEvaluator(_with_outputs(branches, names)).run(None, {"x": x})
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())


def _with_outputs(model, names):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return changed
