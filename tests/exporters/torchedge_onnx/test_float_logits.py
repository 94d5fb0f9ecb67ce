"""A scheme that leaves a network's last result in float keeps its product on integers."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from tests.exporters.torchedge_onnx.exports import exported as exported_model
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_onnx.census import runtime_census

PLACEMENT = ONNX_RUNTIME.placement
FLOAT_LOGITS = replace(
    ONNX_RUNTIME, placement=replace(PLACEMENT, outputs_of=PLACEMENT.outputs_of - {"linear"})
)


def exported(scheme, tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 9)
    ).eval()
    images = torch.randn(32, 3, 8, 8)
    model = calibrate(prepare_qat(net, scheme, (images[:1],)).eval(), [images], minmax)
    forms = exported_model(model, scheme, images, tmp_path)
    return forms.path, *forms.answers()


def test_the_last_product_is_on_integers_and_its_result_is_not_on_a_grid(tmp_path):
    path, found, wanted = exported(FLOAT_LOGITS, tmp_path)
    assert runtime_census(path).integer_share == 1.0
    # A product of int32 and a float32 scale: two roundings of 2^-24 on each side.
    assert np.abs(found - wanted).max() <= 4 * 2.0**-24 * np.abs(wanted).max()
    on_grid = exported(ONNX_RUNTIME, tmp_path / "grid")[1]
    assert len(np.unique(on_grid)) <= 256
    assert len(np.unique(found)) > 256
