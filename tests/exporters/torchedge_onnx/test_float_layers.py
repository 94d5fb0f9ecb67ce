"""Layers left in float are float in the file, and their neighbours are on integers."""

import numpy as np
import pytest
import torch
from torch import nn

from torchedge.backends import ONNX_RUNTIME
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.quantization.recovery import quantize
from torchedge_onnx.census import runtime_census
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

# 8·8 positions of a stem, a depthwise convolution and a pointwise one
MACS = {"0": 64 * 3 * 16 * 9, "2": 64 * 16 * 9, "4": 64 * 16 * 16, "7": 16 * 4}


def exported(tmp_path, float_layers):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU6()),
        *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6()),
        *(nn.Conv2d(16, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    ).eval()
    images = torch.randn(32, 3, 8, 8)
    model = quantize(net, ONNX_RUNTIME, images.split(8), float_layers=float_layers)
    artifact = CompressedModel(
        module=model, scheme=ONNX_RUNTIME, example_inputs=(images[:1],), samples=(images,)
    ).save(tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    path = TorchToOnnx().export(artifact, tmp_path / "onnx").path / MODEL_FILE
    session = open_model(path)
    found = np.concatenate([session(x.numpy())[0] for x in images.split(1)])
    with TorchRunner().open(artifact) as reference:
        wanted = np.concatenate([reference(x.numpy())[0] for x in images.split(1)])
    return path, np.abs(found - wanted) / artifact.outputs[0].scale


@pytest.mark.parametrize("float_layers", [("0",), ("0", "2"), ("2",), ("4",), ("7",)])
def test_the_runtime_computes_in_float_what_was_left_in_float_and_nothing_else(
    float_layers, tmp_path
):
    path, steps = exported(tmp_path, float_layers)
    share = 1 - sum(MACS[name] for name in float_layers) / sum(MACS.values())
    assert runtime_census(path).integer_share == pytest.approx(share)
    assert np.mean(steps < 0.01) > 0.95  # float sums are rounded in another order
    assert steps.max() < 1.01
