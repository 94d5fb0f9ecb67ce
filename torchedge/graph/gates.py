"""Activations that are a tensor times its own gate, written as that product."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from torchedge.graph.editing import arguments_of, free_path
from torchedge.scheme import GatedKind

__all__ = ["close_gates", "open_gates"]

_GATES: dict[GatedKind, Callable[[Tensor], Tensor]] = {
    "silu": torch.sigmoid,
    "hardswish": F.hardsigmoid,
}
_GATE = "_gate"
_MODULES: dict[type[nn.Module], GatedKind] = {nn.SiLU: "silu", nn.Hardswish: "hardswish"}
_FUNCTIONS: dict[Any, GatedKind] = {F.silu: "silu", F.hardswish: "hardswish"}


def open_gates(graph_module: fx.GraphModule, kinds: frozenset[GatedKind]) -> None:
    """Write, in place, ``silu(x)`` as ``x · sigmoid(x)``, and ``hardswish(x)`` in the same way.

    A runtime without an integer kernel of the whole has one of each part. The product keeps the
    name of the activation.

    Example:
        >>> graph_module = fx.symbolic_trace(nn.Sequential(nn.SiLU()))
        >>> open_gates(graph_module, frozenset({"silu"}))
        >>> [node.name for node in graph_module.graph.nodes]
        ['input_1', '_0_gate', '_0', 'output']
    """
    for node in list(graph_module.graph.nodes):
        kind = _kind(node, graph_module)
        if kind is not None and kind in kinds:
            _open(node, _GATES[kind])


def close_gates(graph_module: fx.GraphModule) -> None:
    """Write, in place, what :func:`open_gates` opened as one module again, of the same name.

    What stands between a gate and its product, such as a quantiser, goes with it.

    Example:
        >>> graph_module = fx.symbolic_trace(nn.Sequential(nn.SiLU()))
        >>> open_gates(graph_module, frozenset({"silu"}))
        >>> close_gates(graph_module)
        >>> [node.name for node in graph_module.graph.nodes]
        ['input_1', '_0', 'output']
    """
    modules = {_GATES[kind]: module for module, kind in _MODULES.items()}
    for node in list(graph_module.graph.nodes):
        passed = _way_to_gate(node)
        if passed:
            path = free_path(node.name, graph_module)
            module = modules[passed[-1].target]()  # type: ignore[index]
            graph_module.add_submodule(path, module.train(graph_module.training))
            node.op, node.target, node.args = "call_module", path, node.args[:1]
            for unread in passed:
                graph_module.graph.erase_node(unread)


def _way_to_gate(product: fx.Node) -> list[fx.Node]:
    """From a product back to the gate that was opened for it; empty for any other node."""
    if product.target is not torch.mul or len(product.args) != 2:
        return []
    passed: list[fx.Node] = []
    before = [product.args[1]]
    while len(before) == 1 and isinstance(before[0], fx.Node) and len(before[0].users) == 1:
        passed.append(before[0])
        if before[0].name == f"{product.name}{_GATE}":
            return passed
        before = list(before[0].all_input_nodes)
    return []


def _kind(node: fx.Node, graph_module: fx.GraphModule) -> GatedKind | None:
    if node.op == "call_module":
        return _MODULES.get(type(graph_module.get_submodule(str(node.target))))
    return _FUNCTIONS.get(node.target) if node.op == "call_function" else None


def _open(node: fx.Node, gate: Callable[[Tensor], Tensor]) -> None:
    source = arguments_of(node, ("input",))["input"]
    with node.graph.inserting_before(node):
        opened = node.graph.create_node(
            "call_function", gate, (source,), name=f"{node.name}{_GATE}"
        )
    opened.meta = dict(node.meta)
    node.op, node.target = "call_function", torch.mul
    node.args, node.kwargs = (source, opened), {}
