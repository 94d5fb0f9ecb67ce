import pytest
import torch
from torch import nn

from torchedge.errors import TraceError
from torchedge.graph.trace import trace


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # the line that is named
            return x
        return -x


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 1, 1), Branching())

    def forward(self, x):
        return self.body(x)


def test_a_model_that_branches_on_data_is_refused_with_module_line_and_way_out():
    with pytest.raises(TraceError) as refused:
        trace(Holder(), (torch.ones(1, 1, 2, 2),))
    text = str(refused.value)
    assert "Branching 'body.1'" in text
    assert "test_trace.py:11 (if x.sum() > 0:" in text
    assert "torch.where" in text


def test_the_graph_shares_its_parameters_with_the_model():
    model = nn.Sequential(nn.Linear(2, 2))
    assert trace(model, (torch.zeros(1, 2),)).get_parameter("0.weight") is model[0].weight


def test_the_graph_computes_what_the_model_computes():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    x = torch.randn(1, 1, 5, 5)
    assert torch.equal(trace(model, (x,))(x), model(x))
