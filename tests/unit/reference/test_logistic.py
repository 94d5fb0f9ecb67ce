import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from torchedge.reference.logistic import runtime_sigmoid, runtime_silu


@pytest.mark.parametrize("silu", [False, True])
def test_sigmoids_are_those_of_onnx_runtime_to_the_last_bit(silu):
    x = 6 * torch.randn(1, 50_000, generator=torch.Generator().manual_seed(0))
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"])]
    nodes += [helper.make_node("Mul", ["x", "s"], ["y"])] if silu else []
    name = "y" if silu else "s"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n in ("x", name)]
    graph = helper.make_graph(nodes, "sigmoid", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    found = runtime_silu(x) if silu else runtime_sigmoid(x)
    assert torch.equal(found, expected)
    assert not torch.equal(torch.nn.functional.silu(x) if silu else x.sigmoid(), expected)
