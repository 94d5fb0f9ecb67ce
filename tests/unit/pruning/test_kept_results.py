"""Modules that keep a result of their last run, as attention keeps the bias of its places."""

import pytest
import torch
from torch import nn

from tests.unit.pruning.networks import conv, head
from torchedge.distillation.sources import LiveTeacher
from torchedge.graph.trace import trace
from torchedge.pruning import bake_masks, mask_weights, prune_by, remove_channels

IMAGE = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)


class KeepsBias(nn.Module):
    """The bias is computed once in evaluation, and whenever it is asked for in training."""

    def __init__(self, width):
        super().__init__()
        self.biases = nn.Parameter(torch.linspace(-1, 1, 2 * width).view(width, 2))
        self.kept = {}
        self.layer = conv(width, width)

    def train(self, mode=True):
        self.kept = {}
        return super().train(mode)

    def bias(self):
        if self.training:
            return self.biases.sum(1).view(-1, 1, 1)
        if "bias" not in self.kept:
            self.kept["bias"] = self.biases.sum(1).view(-1, 1, 1)
        return self.kept["bias"]

    def forward(self, x):
        return self.layer(x) + self.bias()


def keeps():
    torch.manual_seed(0)
    return nn.Sequential(conv(3, 16), nn.ReLU(), KeepsBias(16), head(16)).eval()


def test_a_trace_leaves_no_stand_ins_in_the_modules():
    model = keeps()
    trace(model, (IMAGE,))
    assert model[2].kept == {}
    expected = model(IMAGE)
    torch.testing.assert_close(trace(model, (IMAGE,))(IMAGE), expected)


def test_what_a_module_kept_before_a_trace_is_there_afterwards():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept, self.inside = "before", [{"a": 1}]

        def forward(self, x):
            self.kept = self.new = self.inside[0]["a"] = x + 1
            return self.kept

    model = Keeps()
    trace(model, (IMAGE,))
    assert (model.kept, model.inside, hasattr(model, "new")) == ("before", [{"a": 1}], False)


@pytest.mark.parametrize("ran", [False, True])
def test_a_network_that_keeps_a_bias_is_pruned(ran):
    model = keeps()
    expected = model(IMAGE) if ran else keeps()(IMAGE)
    torch.testing.assert_close(remove_channels(model, {})(IMAGE), expected)
    pruned = prune_by(model, (IMAGE,), 0.5)
    assert pruned[2].biases.shape == (8, 2)
    again = prune_by(pruned, (IMAGE,), 0.5)
    again.train()(IMAGE).sum().backward()
    assert again[2].biases.grad is not None


def test_a_network_that_has_kept_a_computed_tensor_is_masked_and_teaches():
    model = keeps()
    model(IMAGE)
    masked = mask_weights(model, {"0.weight": torch.ones(16, 3, 3, 3)})
    torch.testing.assert_close(bake_masks(masked)(IMAGE), model(IMAGE))
    torch.testing.assert_close(LiveTeacher(model).network(IMAGE), model(IMAGE))


@pytest.mark.parametrize("training", [False, True])
def test_a_graph_is_in_the_mode_of_its_network(training):
    model = keeps().train(training)
    assert trace(model, (IMAGE,)).training == model.training == training
