import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from torchedge.errors import TraceError
from torchedge.graph.copies import copied
from torchedge.graph.wrappers import unwrapped, without_wrappers
from torchedge.quantization import calibrate, freeze, minmax, prepare_qat
from torchedge.scheme import QuantScheme

X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@dataclass
class State:
    last: Tensor | None = None


class Keeps(nn.Module):
    """Keeps its result wherever ``keep`` puts it."""

    def __init__(self, keep):
        super().__init__()
        self.conv, self.keep = nn.Conv2d(1, 2, 3), keep
        self.box, self.state, self.space = {"deep": [{}]}, State(), SimpleNamespace(inner=[])

    def forward(self, x):
        y = self.conv(x)
        self.keep(self, y)
        return y


KEEPS = {
    "attribute": lambda net, y: setattr(net, "last", y),
    "list in a dictionary": lambda net, y: net.box["deep"].append(y),
    "dictionary in a list": lambda net, y: net.box["deep"][0].update(y=y),
    "dataclass": lambda net, y: setattr(net.state, "last", y),
    "namespace": lambda net, y: net.space.inner.append((y, [y])),
    "buffer": lambda net, y: net.register_buffer("kept", y),
}


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_a_network_that_keeps_an_activation_is_copied(keep):
    net = Keeps(keep)
    net(X).sum().backward()
    found = copied(net)
    assert torch.equal(found(X), net(X))
    assert found.conv.weight is not net.conv.weight


@pytest.mark.parametrize("keep", list(KEEPS.values())[:3], ids=list(KEEPS)[:3])
def test_a_network_that_keeps_an_activation_is_prepared(keep):
    net = Keeps(keep)
    net(X).sum().backward()
    model = calibrate(prepare_qat(net, QuantScheme(), X), X, minmax)
    assert model(X).shape == net(X).shape


class Tap(nn.Module):
    """A layer without weights that stays a node of the graph, and keeps what it sees."""

    traced_whole = True

    def forward(self, x):
        self.seen = x
        return x.clone()


def test_a_trained_model_whose_layer_keeps_an_activation_is_calibrated_and_frozen():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), Tap(), nn.ReLU())
    model = calibrate(prepare_qat(net, QuantScheme(), X), X, minmax)
    model(X).sum().backward()
    assert freeze(calibrate(model, X, minmax))(X).shape == (2, 2, 6, 6)


@pytest.mark.parametrize("make", [threading.Lock, lambda: (i for i in []), lambda: memoryview(b"")])
def test_what_cannot_be_copied_is_refused_by_its_name(make):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    net[1].handle = {"of": make()}
    with pytest.raises(TraceError, match="'1' keeps 'handle', which cannot be copied"):
        copied(net)


REFUSED = {
    "class": (nn.ReLU, r"this is the class; pass ReLU\(\)"),
    "list": ([nn.ReLU()], "this is a list"),
    "meta": (nn.Linear(1, 1, device="meta"), "on the meta device"),
    "complex": (nn.Linear(1, 1, dtype=torch.complex64), "is complex"),
}


@pytest.mark.parametrize(("model", "said"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_values_of_its_own_is_refused(model, said):
    for function in (unwrapped, without_wrappers):
        with pytest.raises(TraceError, match=said):
            function(model)


class Forgetful(nn.Module):
    def __init__(self):
        self.size = 5


def test_a_module_that_forgot_its_parent_is_told_to_call_it():
    with pytest.raises(TraceError, match=r"call super\(\).__init__\(\) first"):
        unwrapped(Forgetful())


def test_lazy_layers_are_refused_until_they_have_shapes():
    net = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(TraceError, match="run the model once"):
        unwrapped(net)
    net(torch.zeros(1, 3))
    assert unwrapped(net) is net
