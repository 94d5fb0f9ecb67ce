"""Float batch norms, transposes and conversions are seen where every MAC is an integer."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.exporters.torchedge_onnx.exports import exported
from torchedge.backends import ONNX_RUNTIME
from torchedge.cli import main
from torchedge.exporting import load_artifact
from torchedge.exporting.plugins import runner
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_onnx.census import runtime_census


class NormsBehind(nn.Module):
    """Convolutions on integers with batch norms that no layer can take in."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(4) for _ in range(2)])

    def forward(self, x):
        x = self.layers[0](x)
        for norm, layer in zip(self.norms, self.layers[1:], strict=True):
            x = layer(norm(torch.relu(nn.functional.max_pool2d(x, 1))))
        return x


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    torch.manual_seed(0)
    x = torch.rand(8, 4, 8, 8)
    model = calibrate(prepare_qat(NormsBehind().eval(), ONNX_RUNTIME, (x[:1],)), [x], minmax)
    return load_artifact(
        exported(model, ONNX_RUNTIME, x, tmp_path_factory.mktemp("counts")).path.parent
    )


def counts(artifact):
    census = runner(artifact.format).census(artifact)
    return census, {entry.operation: entry for entry in census.operators}


def test_float_batch_norms_are_counted_though_all_macs_are_integers(artifact):
    census, found = counts(artifact)
    assert census.integer_share == 1
    assert (found["BatchNormalization"].count, found["BatchNormalization"].in_float) == (2, 2)
    assert found["QLinearConv"].in_float == 0
    # Into the network and out of each batch norm; out of the network and into each batch norm.
    assert found["QuantizeLinear"].count == 3
    assert found["DequantizeLinear"].count == 3


def test_all_operators_are_counted(artifact):
    from torchedge_onnx.census import optimised_graph
    from torchedge_onnx.step import MODEL_FILE

    census, _ = counts(artifact)
    nodes = optimised_graph(onnx.load(artifact.file(MODEL_FILE))).graph.node
    assert sum(entry.count for entry in census.operators) == len(nodes)


def test_the_command_prints_the_counts_as_json_and_as_a_table(artifact, capsys):
    assert main(["benchmark", str(artifact.path), "--census", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    rows = {entry["operation"]: entry for entry in plain["operators"]}
    assert rows["BatchNormalization"]["in_float"] == 2
    assert main(["benchmark", str(artifact.path), "--census"]) == 0
    assert "BatchNormalization" in capsys.readouterr().out


def test_a_product_whose_quantiser_the_runtime_moves_is_counted_once(tmp_path):
    """It puts a quantiser behind the product, under a name of its own, to get past the reshape."""
    nodes = []
    for name in ("x", "w"):
        nodes += [
            helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_integers"]),
            helper.make_node(
                "DequantizeLinear", [f"{name}_integers", "scale", "zero"], [f"{name}r"]
            ),
        ]
    nodes += [
        helper.make_node("MatMul", ["xr", "wr"], ["product"], name="product"),
        helper.make_node("Reshape", ["product", "shape"], ["flat"]),
        helper.make_node("QuantizeLinear", ["flat", "scale", "zero"], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["y"]),
    ]
    held = {"scale": np.float32(0.1), "zero": np.uint8(128), "shape": np.array([1, 24])}
    inputs = {"x": (1, 4, 5), "w": (1, 5, 6)}
    graph = helper.make_graph(
        nodes,
        "moved",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 24))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "moved.onnx")
    (layer,) = runtime_census(tmp_path / "moved.onnx").layers
    assert (layer.operation, layer.macs, layer.integer) == ("QLinearMatMul", 4 * 5 * 6, True)
