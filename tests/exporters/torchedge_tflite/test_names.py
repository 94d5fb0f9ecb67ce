"""Names of outputs reach the .tflite file and come back from LiteRT."""

import pytest
import torch
from torch import nn

import torchedge
from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_tflite.flatbuffer import read_model
from torchedge_tflite.step import MODEL_FILE


class Heads(nn.Module):
    """Names with dots, of digits, and of an operator."""

    def __init__(self):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        maps = self.convolution(x).relu()
        scores = self.linear(maps.mean((2, 3)))
        return {"add": scores, "levels": [maps, {"0": nn.functional.max_pool2d(maps, 2)}]}


class TestConverted:
    pytestmark = pytest.mark.slow

    def test_names_are_those_of_the_network_and_the_answers_too(self, litert, tmp_path):
        target = exporting.target("raspberry-pi-5")
        x = torch.rand(16, 3, 8, 8)
        prepared = prepare_qat(Heads().eval(), target.scheme, (x[:1],))
        source = CompressedModel(
            module=calibrate(prepared, x.split(8), minmax),
            example_inputs=(x[:1],),
            samples=(x,),
            scheme=target.scheme,
        ).save(tmp_path / "torch")
        artifact = torchedge.export(source, target, tmp_path / "out").artifact
        names = ["add", "levels.0", "levels.1.0"]
        assert [spec.name for spec in artifact.outputs] == names
        assert set(read_model(artifact.file(MODEL_FILE)).signature) == {"input_0", *names}
