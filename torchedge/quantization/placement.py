"""Where quantisers sit: a backend's :class:`~torchedge.scheme.Placement` applied to a graph."""

from typing import TypeAlias

from torch import fx

from torchedge.quantization.graph import kind_of
from torchedge.scheme import Placement

__all__ = ["QuantizedReads", "quantized_reads"]

QuantizedReads: TypeAlias = dict[fx.Node, set[fx.Node]]


def quantized_reads(graph_module: fx.GraphModule, placement: Placement) -> QuantizedReads:
    """Each tensor that gets a quantiser, with the nodes that read the quantised values.

    Other readers of the same tensor keep the float values: a backend that fuses a convolution into
    the addition after it must not see that operand rounded.
    """
    reads: QuantizedReads = {}
    for node in graph_module.graph.nodes:
        if kind_of(node, graph_module) in placement.outputs_of:
            tensor = _end_of_fusion(node, graph_module)
            reads[tensor] = set(tensor.users)
    depths = _weighted_depths(graph_module)
    for node in graph_module.graph.nodes:
        for operand in _integer_operands(node, graph_module, placement, depths):
            if not _is_quantized(operand, node, graph_module, reads):
                reads.setdefault(operand, set()).add(node)
    return reads


def _integer_operands(
    node: fx.Node, graph_module: fx.GraphModule, placement: Placement, depths: dict[fx.Node, int]
) -> list[fx.Node]:
    kind = kind_of(node, graph_module)
    operands = list(dict.fromkeys(a for a in node.args if isinstance(a, fx.Node)))
    if kind == "add" and placement.fused_add:
        fused = _fused_operand(operands, graph_module, depths)
        return [operand for operand in operands if operand is not fused]
    if kind == "add":
        return operands if kind in placement.inputs_of else []
    return operands[:1] if kind in placement.inputs_of else []


def _fused_operand(
    operands: list[fx.Node], graph_module: fx.GraphModule, depths: dict[fx.Node, int]
) -> fx.Node | None:
    """The convolution that the addition runs inside of: of two, the one on the longer branch."""
    branches = [
        operand
        for operand in operands
        if kind_of(operand, graph_module) in {"conv", "linear"} and len(operand.users) == 1
    ]
    return max(branches, key=lambda operand: depths[operand], default=None)


def _weighted_depths(graph_module: fx.GraphModule) -> dict[fx.Node, int]:
    depths: dict[fx.Node, int] = {}
    for node in graph_module.graph.nodes:
        weighted = kind_of(node, graph_module) in {"conv", "linear"}
        depths[node] = weighted + max((depths[n] for n in node.all_input_nodes), default=0)
    return depths


def _end_of_fusion(node: fx.Node, graph_module: fx.GraphModule) -> fx.Node:
    """The activation right after ``node`` where it is the only reader, else ``node``."""
    users = list(node.users)
    fused = len(users) == 1 and kind_of(users[0], graph_module) == "activation"
    return users[0] if fused else node


def _is_quantized(
    tensor: fx.Node, reader: fx.Node, graph_module: fx.GraphModule, reads: QuantizedReads
) -> bool:
    while reader not in reads.get(tensor, ()):
        source = tensor.args[0] if tensor.args else None
        if kind_of(tensor, graph_module) != "same_values" or not isinstance(source, fx.Node):
            return False
        tensor, reader = source, tensor
    return True
