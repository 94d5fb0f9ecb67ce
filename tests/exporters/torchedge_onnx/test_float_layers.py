"""Layers left in float are float in the file, and their neighbours are on integers."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.exporters.torchedge_onnx.exports import exported
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization.recovery import quantize
from torchedge_onnx.census import runtime_census

# 8·8 positions of a stem, a depthwise convolution and a pointwise one
MACS = {"0": 64 * 3 * 16 * 9, "2": 64 * 16 * 9, "4": 64 * 16 * 16, "7": 16 * 4}


@pytest.mark.parametrize("float_layers", [("0",), ("0", "2"), ("2",), ("4",), ("7",)])
def test_the_runtime_computes_in_float_what_was_left_in_float_and_nothing_else(
    float_layers, tmp_path
):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU6()),
        *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6()),
        *(nn.Conv2d(16, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    ).eval()
    images = torch.randn(32, 3, 8, 8)
    model = quantize(net, ONNX_RUNTIME, images.split(8), float_layers=float_layers)
    forms = exported(model, ONNX_RUNTIME, images, tmp_path)
    share = 1 - sum(MACS[name] for name in float_layers) / sum(MACS.values())
    assert runtime_census(forms.path).integer_share == pytest.approx(share)
    found, wanted = forms.answers()
    steps = np.abs(found - wanted) / forms.artifact.outputs[0].scale
    # A float sum of 27 products is off by at most 27·2^-24 of 255 steps: in one of 2,000 values it
    # falls on the other side of a rounding, which moves an output, an average of 64, by less than
    # a step. Of 128 outputs one may differ.
    assert steps.max() < 1.01
    assert np.count_nonzero(steps > 0.01) <= 1
