"""Where two computations of one network part, and where they only carry on a difference."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tests.exporters.torchedge_onnx.exports import exported
from torchedge.backends import ONNX_RUNTIME, TENSORRT
from torchedge.errors import VerificationError
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_onnx.differences import tensor_differences


def compared(tmp_path, scheme=ONNX_RUNTIME, normalised=False):
    torch.manual_seed(0)
    middle = nn.LayerNorm(6) if normalised else nn.Hardswish(inplace=True)
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), middle, nn.Conv2d(4, 4, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ).eval()
    images = torch.randn(16, 1, 8, 8)
    model = calibrate(prepare_qat(net, scheme, (images[:1],)).eval(), [images], minmax)
    forms = exported(model, scheme, images, tmp_path)
    return forms.artifact, forms.path, forms.samples


def test_exact_operations_differ_nowhere_also_where_one_works_in_place(tmp_path):
    rows = tensor_differences(*compared(tmp_path))
    assert [row.name for row in rows][:2] == ["input_1", "relu"]
    assert len(rows) >= 6
    for row in rows:
        assert row.local_identical == row.identical == 1.0
    assert rows[1].values == 16 * 4 * 6 * 6
    assert [row.operation for row in rows][:2] == ["QuantizeLinear", "QLinearConv"]


def test_a_wrong_bias_is_found_where_it_is_and_carried_on_behind_it(tmp_path):
    artifact, path, samples = compared(tmp_path)
    model = onnx.load(path)
    convolution = [node for node in model.graph.node if node.op_type == "Conv"][1]
    bias = next(n for n in model.graph.node if n.output[0] == convolution.input[2]).input[0]
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == bias)
    wrong = numpy_helper.to_array(stored) + np.int32(20_000)
    stored.CopyFrom(numpy_helper.from_array(wrong, bias))
    onnx.save(model, path)
    rows = tensor_differences(artifact, path, samples)
    suspects = [row.name for row in rows if row.local_identical < 1]
    assert suspects == ["conv2d_1"]
    assert rows[-1].identical < 1


def test_a_normalisation_in_float_changes_few_values_and_by_one_step(tmp_path):
    rows = tensor_differences(*compared(tmp_path, normalised=True))
    # Both normalise 6 values in float32: off by less than 16·2^-24 of 255 steps, so that one of
    # 4,000 values may round otherwise, and there are 16·4·6·6 = 2,304 in a tensor.
    assert all(row.local_within_one == 1.0 for row in rows)
    assert all((1 - row.local_identical) * row.values <= 1.01 for row in rows)


def test_a_scheme_that_is_simulated_in_float_is_refused(tmp_path):
    with pytest.raises(VerificationError, match="not int32"):
        tensor_differences(*compared(tmp_path, TENSORRT))


def test_a_file_of_another_network_is_refused(tmp_path):
    artifact, path, samples = compared(tmp_path)
    model = onnx.load(path)
    for node in model.graph.node:  # as an exporter that names its tensors otherwise
        for index, name in enumerate(node.output):
            renamed = name.replace("fake_quantize", "real")
            node.output[index] = renamed
        for index, name in enumerate(node.input):
            node.input[index] = name.replace("fake_quantize", "real")
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("fake_quantize", "real")
    onnx.save(model, path)
    with pytest.raises(VerificationError, match="exported from"):
        tensor_differences(artifact, path, samples)
