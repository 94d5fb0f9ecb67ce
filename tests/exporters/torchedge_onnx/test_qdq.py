from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from torchedge_onnx.qdq import Pair, with_pairs
from torchedge_onnx.session import open_model

FLOAT = onnx.TensorProto.FLOAT
X = np.array([[-3.0, -0.4, 0.3, 9.0]], np.float32)


def network() -> onnx.ModelProto:
    """``y = relu(x)``, ``z = x · w``."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("MatMul", ["x", "w"], ["z"])]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", FLOAT, (1, 4))],
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in {"y": (1, 4), "z": (1, 2)}.items()],
        [numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def run(model: onnx.ModelProto, folder: Path) -> tuple[np.ndarray, ...]:
    onnx.checker.check_model(model, full_check=True)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return open_model(path)(X)


def grid(tensor: str, *readers: tuple[int, int]) -> Pair:
    scale, zero = np.array(0.5, np.float32), np.array(0, np.int8)
    return Pair(tensor=tensor, scale=scale, zero_point=zero, readers=readers)


def test_only_the_readers_that_are_named_read_from_the_grid(tmp_path: Path) -> None:
    y, z = run(with_pairs(network(), (grid("x", (1, 0)),)), tmp_path)
    np.testing.assert_array_equal(y, np.maximum(X, 0))
    rounded = np.array([[-3.0, -0.5, 0.5, 9.0]], np.float32)  # -0.8 and 0.6 steps of 0.5
    np.testing.assert_array_equal(z, rounded @ np.arange(8, dtype=np.float32).reshape(4, 2))


def test_a_weight_has_a_scale_for_each_index_of_its_axis() -> None:
    scale, zero = np.array([2.0, 4.0], np.float32), np.zeros(2, np.int8)
    pair = Pair(tensor="w", scale=scale, zero_point=zero, readers=((1, 1),), axis=1)
    changed = with_pairs(network(), (pair,))
    onnx.checker.check_model(changed, full_check=True)
    _, z = ReferenceEvaluator(changed).run(None, {"x": X})  # ONNX Runtime would round x as well
    rounded = np.array([[0, 0], [2, 4], [4, 4], [6, 8]], np.float32)  # 5/4 → 1, 3/4 → 1, 7/4 → 2
    np.testing.assert_array_equal(z, X @ rounded)


def test_one_pair_serves_several_readers_and_the_source_is_not_changed() -> None:
    source = network()
    before = source.SerializeToString()
    changed = with_pairs(source, (grid("x", (0, 0), (1, 0)),))
    assert source.SerializeToString() == before
    kinds = [node.op_type for node in changed.graph.node]
    assert kinds == ["QuantizeLinear", "DequantizeLinear", "Relu", "MatMul"]


@pytest.mark.parametrize("taken", ["x.grid.scale", "x.grid.real", "x.grid.zero_point"])
def test_names_that_the_graph_has_already_are_not_used_again(taken: str, tmp_path: Path) -> None:
    source = network()
    source.graph.initializer.append(numpy_helper.from_array(np.float32(0), taken))
    changed = with_pairs(source, (grid("x", (0, 0)), grid("x", (1, 0))))
    names = [tensor.name for tensor in changed.graph.initializer]
    assert len(names) == len(set(names)) == 6
    run(changed, tmp_path)
