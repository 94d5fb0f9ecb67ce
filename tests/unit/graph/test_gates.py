"""SiLU and Hardswish are their input times its gate, and become one module again."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from torchedge.graph.gates import close_gates, open_gates

BOTH = frozenset({"silu", "hardswish"})


class Written(nn.Module):
    """As functions, of which one has a keyword; and a product that the user wrote."""

    def forward(self, x):
        return F.hardswish(F.silu(input=x)) + x * torch.sigmoid(x)


@pytest.fixture
def x():
    return torch.linspace(-9, 9, 181)[None]


def kinds(graph_module):
    return [type(m) for m in graph_module.modules() if m is not graph_module]


@pytest.mark.parametrize("net", [nn.Sequential(nn.SiLU(), nn.Hardswish(inplace=True)), Written()])
def test_opened_and_closed_again_it_computes_the_same(net, x):
    wanted = net(x.clone())
    graph_module = fx.symbolic_trace(net)
    for change in (lambda g: open_gates(g, BOTH), close_gates):
        change(graph_module)
        graph_module.graph.lint()
        graph_module.recompile()
        torch.testing.assert_close(graph_module(x.clone()), wanted, rtol=1e-6, atol=1e-6)
    graph_module.delete_all_unused_submodules()
    assert kinds(graph_module) == [nn.SiLU, nn.Hardswish]


def test_what_was_put_between_a_gate_and_its_product_goes_with_it(x):
    graph_module = fx.symbolic_trace(nn.Sequential(nn.SiLU()))
    open_gates(graph_module, BOTH)
    graph_module.add_submodule("between", nn.Identity())
    gate = next(node for node in graph_module.graph.nodes if node.name == "_0_gate")
    with graph_module.graph.inserting_after(gate):
        between = graph_module.graph.call_module("between", (gate,))
    gate.replace_all_uses_with(between, delete_user_cb=lambda user: user is not between)
    close_gates(graph_module)
    graph_module.graph.lint()
    graph_module.recompile()
    assert [node.name for node in graph_module.graph.nodes] == ["input_1", "_0", "output"]
    assert torch.equal(graph_module(x), F.silu(x))


def test_opened_no_activation_is_left_and_the_product_has_its_name(x):
    graph_module = fx.symbolic_trace(nn.Sequential(nn.SiLU()))
    open_gates(graph_module, BOTH)
    names = {node.name: node.target for node in graph_module.graph.nodes}
    assert names["_0"] is torch.mul
    assert names["_0_gate"] is torch.sigmoid


def test_only_what_is_asked_for_is_opened():
    graph_module = fx.symbolic_trace(nn.Sequential(nn.SiLU(), nn.Hardswish()))
    open_gates(graph_module, frozenset({"silu"}))
    assert [node.op for node in graph_module.graph.nodes][-2] == "call_module"


def test_a_product_that_the_user_wrote_stays_one():
    graph_module = fx.symbolic_trace(Written())
    close_gates(graph_module)
    assert kinds(graph_module) == []
