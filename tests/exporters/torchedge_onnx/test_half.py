from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.exporters.torchedge_tensorrt.graphs import with_constant_nodes
from torchedge.errors import ExportError
from torchedge_onnx.half import half_precision
from torchedge_onnx.session import open_model

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def scaled(factor: float) -> onnx.ModelProto:
    """``y = relu(x · factor)``."""
    nodes = [helper.make_node("Mul", ["x", "f"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "scaled",
        [helper.make_tensor_value_info("x", FLOAT, (1, 8))],
        [helper.make_tensor_value_info("y", FLOAT, (1, 8))],
        [numpy_helper.from_array(np.full((1, 8), factor, np.float32), "f")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_inside_all_is_float16_and_outside_nothing_has_changed() -> None:
    source = scaled(1 / 3)
    half = half_precision(source)
    onnx.checker.check_model(half, full_check=True)
    assert [t.data_type for t in half.graph.initializer] == [HALF]
    assert [t.data_type for t in source.graph.initializer] == [FLOAT]
    ends = [*half.graph.input, *half.graph.output]
    assert [(v.name, v.type.tensor_type.elem_type) for v in ends] == [("x", FLOAT), ("y", FLOAT)]
    assert half.opset_import[0].version == 13


def test_it_computes_with_rounded_weights(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(half_precision(scaled(1 / 3)).SerializeToString())
    x = np.linspace(-2, 2, 8, dtype=np.float32)[None]
    expected = np.maximum(x * np.float32(np.float16(1 / 3)), 0)
    (found,) = open_model(path)(x)
    # ONNX Runtime on a CPU may keep inner results in float32: input and result round at most.
    np.testing.assert_allclose(found, expected, rtol=2 * 2**-11)


@pytest.mark.parametrize("factor", [70_000.0, np.inf, np.nan])
def test_a_weight_beyond_float16_is_refused_by_name(factor: float) -> None:
    with pytest.raises(ExportError, match=r"'f' holds .*, beyond the 65,504 of float16"):
        half_precision(scaled(factor))
    with pytest.raises(ExportError, match=r"'f' holds .*, beyond the 65,504 of float16"):
        half_precision(with_constant_nodes(scaled(factor)))
