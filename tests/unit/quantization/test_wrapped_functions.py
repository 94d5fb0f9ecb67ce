"""Functions that were passed to ``torch.fx.wrap``: their layers are quantised like any other."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchedge.backends import ONNX_RUNTIME, TFLITE
from torchedge.quantization import calibrate, describe, minmax, prepare_qat


def projected(x, weight, bias, heads):
    """Two projections and a product that is scaled by what is computed of sizes."""
    rows, width = x.shape[1:]
    first, second = F.linear(x, weight, bias).reshape(-1, rows, 2, width).unbind(2)
    scores = (first * (width // heads) ** -0.5) @ second.transpose(1, 2)
    return scores.softmax(-1) @ first


def chosen_by_value(x, weight):
    """Which no tracer can follow."""
    return F.linear(x, weight) if x.sum().item() > 0 else x


torch.fx.wrap("projected")
torch.fx.wrap("chosen_by_value")


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(16, 8)), nn.Parameter(torch.randn(16))
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        return self.last(projected(x, self.weight, self.bias, 2))


class Chooses(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(chosen_by_value(x, self.weight))


def rows():
    return torch.rand(4, 5, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scheme", [ONNX_RUNTIME, TFLITE])
def test_layers_inside_are_on_integers(scheme):
    torch.manual_seed(0)
    net = Attends().eval()
    prepared = calibrate(prepare_qat(net, scheme, rows()[:1]), [rows()], minmax)
    layers = [o for o in describe(prepared) if o.kind == "linear"]
    assert [(o.weight_bits, o.float_reason) for o in layers] == [(8, ""), (8, "")]
    error = (prepared(rows()) - net(rows())).square().mean() / net(rows()).square().mean()
    assert error.item() < 0.01


def test_what_cannot_be_followed_stays_one_node_in_float():
    torch.manual_seed(0)
    prepared = prepare_qat(Chooses().eval(), ONNX_RUNTIME, rows()[:1])
    assert [o.weight_bits for o in describe(prepared) if o.kind == "linear"] == [8]
    assert any(n.target is chosen_by_value for n in prepared.graph.nodes)
