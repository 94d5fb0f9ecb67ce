"""A mean over places without its axes runs on integers, and the reference computes the same."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.conftest import quantized
from tests.exporters.torchedge_onnx.exports import exported
from torchedge.backends import ONNX_RUNTIME
from torchedge_onnx.census import optimised_graph
from torchedge_onnx.differences import tensor_differences


class Flat(nn.Module):
    """A gate of linear layers, and a classifier, both on ``x.mean((2, 3))``."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.gate, self.head = nn.Linear(8, 8), nn.Linear(6, 4)

    def forward(self, x):
        x = self.first(x).relu()
        gate = self.gate(x.mean((2, 3))).sigmoid()
        x = self.last(x * gate[:, :, None, None]).relu()
        return self.head(x.mean((2, 3)))


class Reshaped(Flat):
    """The same with a hard sigmoid that is reshaped before it multiplies, as MobileNetV3 has it."""

    def forward(self, x):
        x = self.first(x).relu()
        batch, channels, _, _ = x.shape
        gate = nn.functional.hardsigmoid(self.gate(x.mean((2, 3))))
        x = self.last(x * gate.view(batch, channels, 1, 1)).relu()
        return self.head(x.mean((2, 3)))


class Means(nn.Module):
    """The mean itself is what comes out."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)

    def forward(self, x):
        return self.first(x).relu().mean((-1, -2))


@pytest.fixture(params=[Flat, Reshaped, Means])
def forms(request, images, tmp_path):
    torch.manual_seed(0)
    module = quantized(request.param().eval(), images, ONNX_RUNTIME)
    return exported(module, ONNX_RUNTIME, images[:32], tmp_path)


def test_means_without_their_axes_and_reshaped_gates_run_on_integer_kernels(forms):
    kinds = [node.op_type for node in optimised_graph(onnx.load(forms.path)).graph.node]
    assert "QLinearGlobalAveragePool" in kinds
    assert not {"GlobalAveragePool", "HardSigmoid", "Mul"}.intersection(kinds)
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (1, 1)


def test_a_mean_without_its_axes_is_the_references_integers(forms):
    np.testing.assert_array_equal(*forms.answers())


def test_a_flattened_mean_is_still_found_by_its_name(forms):
    rows = tensor_differences(forms.artifact, forms.path, forms.samples[:2])
    means = [row for row in rows if row.operation == "QLinearGlobalAveragePool"]
    named = 2 if any("linear" in row.name for row in rows) else 0  # an output has its own name
    assert len(means) == named
    assert all(row.local_identical == 1 for row in rows)
