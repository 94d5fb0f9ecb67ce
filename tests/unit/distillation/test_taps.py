"""Features by layer name, and nothing left behind."""

import pytest
import torch
from torch import nn

from torchedge.distillation.taps import Tap, Taps, require_layers, taps
from torchedge.errors import DistillationError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_what_is_seen_is_what_the_layers_compute_and_carries_gradients():
    net, x = network(), torch.randn(5, 4)
    with taps(net, ["1", "2"]) as tap:
        output = net(x)
        inputs, seen = tap.last()
    assert inputs[0] is x
    assert seen.output is output
    assert torch.equal(seen.features["1"], net[:2](x))
    seen.features["2"].sum().backward()
    assert net[0].weight.grad is not None
    assert net[4].weight.grad is None


def test_hooks_are_gone_after_the_block_and_after_an_error_in_it():
    net = network()
    with taps(net, ["1"]):
        assert hooks(net) == 3
    assert hooks(net) == 0
    with pytest.raises(RuntimeError), taps(net, ["1"]):
        net(torch.zeros(1, 5))
    assert hooks(net) == 0


def test_hooks_are_gone_after_a_name_that_does_not_exist():
    net = network()
    with pytest.raises(DistillationError), taps(net, ["1", "6"]):
        pass
    assert hooks(net) == 0


def test_the_nearest_names_are_offered():
    net = nn.ModuleDict({"features": nn.Sequential(nn.ReLU()), "head": nn.ReLU()})
    with pytest.raises(DistillationError, match=r"student has no layer 'feature'.*'features'"):
        require_layers(net, ["feature"], "student")


def test_a_layer_that_is_called_twice_is_refused_with_a_way_out():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(4, 4)

        def forward(self, x):
            return self.shared(self.shared(x))

    net = Twice()
    with taps(net, ["shared"]) as tap:
        net(torch.zeros(1, 4))
        with pytest.raises(DistillationError, match=r"'shared' ran 2 times.*nn\.Identity"):
            tap.last()


def test_a_network_that_is_called_twice_in_a_step_is_refused():
    net = network()
    with taps(net, []) as tap:
        net(torch.zeros(1, 4))
        net(torch.zeros(1, 4))
        with pytest.raises(DistillationError, match="2 times"):
            tap.last()
        tap.forget()
        with pytest.raises(DistillationError, match="0 times"):
            tap.last()


def test_what_was_seen_is_let_go():
    net = network()
    with taps(net, ["1"]) as tap:
        net(torch.zeros(1, 4))
        tap.last()
        assert tap._output is None
        assert tap._seen == {"1": []}


def test_a_feature_that_is_no_tensor_is_refused_by_name():
    seen = Taps({"out": torch.zeros(1)}, {"lstm": (torch.zeros(1),)})
    with pytest.raises(DistillationError, match="the network returns a dict"):
        seen.feature(None)
    with pytest.raises(DistillationError, match="'lstm' returns a tuple"):
        seen.feature("lstm")


@pytest.mark.slow
@torch._dynamo.config.patch(error_on_recompile=True)
def test_a_compiled_network_is_one_graph_and_is_not_compiled_again():
    torch._dynamo.reset()
    net = network()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    tap = Tap(compiled, ["1", "3"])
    for _ in range(3):
        tap.forget()
        x = torch.randn(5, 4)
        compiled(x)
        _, seen = tap.last()
        assert torch.allclose(seen.features["3"], net[:4](x).detach(), atol=1e-6)
        seen.features["1"].sum().backward()
    tap.remove()
    assert hooks(net) + hooks(compiled) == 0
