"""Which opset a file gets: the oldest that the network can be written in."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from torchedge.compressed import CompressedModel
from torchedge.errors import ExportError
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

torch.manual_seed(0)
PLAIN = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
NORMALISED = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4))  # an operator since opset 17


def written(net, tmp_path, **options):
    images = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    source = CompressedModel(
        module=net.eval(), example_inputs=(images[:1],), samples=(images,)
    ).save(tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    made = TorchToOnnx(**options).export(source, tmp_path / "onnx")
    found = open_model(made.file(MODEL_FILE))(images[:1].numpy())[0]
    np.testing.assert_allclose(found, net(images[:1]).detach().numpy(), rtol=1e-5, atol=1e-6)
    opset = onnx.load(made.file(MODEL_FILE)).opset_import[0].version
    assert made.details["opset"] == opset
    return opset


@pytest.mark.parametrize(("net", "opset"), [(PLAIN, 13), (NORMALISED, 17)])
def test_a_newer_opset_is_taken_only_by_a_network_that_needs_it(net, opset, tmp_path):
    assert written(net, tmp_path, opset=13, opset_at_most=20) == opset


@pytest.mark.parametrize("options", [{"opset": 13}, {"opset": 13, "opset_at_most": 16}])
def test_a_network_that_needs_a_newer_one_than_is_allowed_is_refused(options, tmp_path):
    with pytest.raises(ExportError, match="LayerNormalization, which cannot be written at opset"):
        written(NORMALISED, tmp_path, **options)
