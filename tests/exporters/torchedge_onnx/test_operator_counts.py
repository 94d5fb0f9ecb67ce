"""Float batch norms, transposes and conversions are seen where every MAC is an integer."""

import json

import pytest
import torch
from torch import nn

from tests.exporters.torchedge_onnx.exports import exported
from torchedge.backends import ONNX_RUNTIME
from torchedge.cli import main
from torchedge.export import load_artifact
from torchedge.export.plugins import runner
from torchedge.quantization import calibrate, minmax, prepare_qat


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
    nodes = optimised_graph(artifact.file(MODEL_FILE)).graph.node
    assert sum(entry.count for entry in census.operators) == len(nodes)


def test_the_command_prints_the_counts_as_json_and_as_a_table(artifact, capsys):
    assert main(["benchmark", str(artifact.path), "--census", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    rows = {entry["operation"]: entry for entry in plain["operators"]}
    assert rows["BatchNormalization"]["in_float"] == 2
    assert main(["benchmark", str(artifact.path), "--census"]) == 0
    assert "BatchNormalization" in capsys.readouterr().out
