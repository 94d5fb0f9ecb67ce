"""Where Q/DQ pairs belong in a float graph so that TensorRT fuses its layers: Q1 to Q12 as a plan.

Inputs and weights of layers, the skip of a residual addition, inputs of averaging pools, and all
operands of a concatenation whose result is quantised. Nothing else, so nothing parts a convolution
from its batch norm and activation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import onnx

from torchedge_onnx.graph import WEIGHTED_OPERATIONS
from torchedge_onnx.qdq import Reader
from torchedge_tensorrt.placement_rules import is_normalised
from torchedge_tensorrt.rule_graph import MOVES, RuleGraph, output_channel_axis

__all__ = ["Places", "explicit_places"]

_POOLS = ("AveragePool", "GlobalAveragePool")
_Weight: TypeAlias = tuple[str, int]


@final
@dataclass(frozen=True, kw_only=True)
class Places:
    """What is to be quantised.

    Args:
        activations: For each tensor, who reads it from its grid.
        weights: The same for each weight and the axis of its output channels.
        groups: For each tensor that shares a scale, the name of the group.
        float_layers: Layers that stay in float, and why.
    """

    activations: dict[str, list[Reader]]
    weights: dict[_Weight, list[Reader]]
    groups: dict[str, str]
    float_layers: dict[str, str]


def explicit_places(graph: RuleGraph, scaled: frozenset[str]) -> Places:
    """Plan the pairs of a float graph.

    Args:
        graph: Without Q/DQ.
        scaled: Tensors that have a scale.
    """
    nodes = list(graph.model.graph.node)
    activations: dict[str, list[Reader]] = {}
    weights: dict[_Weight, list[Reader]] = {}
    left = {}
    layers = set()
    for index, node in enumerate(nodes):
        if node.op_type not in WEIGHTED_OPERATIONS:
            continue
        if reason := _float_reason(graph, node, scaled):
            left[node.name or node.output[0]] = reason
            continue
        layers.add(node.output[0])
        activations.setdefault(node.input[0], []).append((index, 0))
        axis = output_channel_axis(node, graph.values[node.input[1]].ndim)
        weights.setdefault((node.input[1], axis), []).append((index, 1))
    for index, node in enumerate(nodes):
        for position in _other_inputs(graph, node, layers):
            if node.input[position] in scaled:
                activations.setdefault(node.input[position], []).append((index, position))
    groups = _concatenations(graph, nodes, activations, scaled)
    return Places(activations=activations, weights=weights, groups=groups, float_layers=left)


def _float_reason(graph: RuleGraph, node: onnx.NodeProto, scaled: frozenset[str]) -> str:
    """Why a layer stays in float; empty where it does not."""
    weight = graph.values.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None:
        return "its weight is computed"
    if weight.dtype != np.float32 or weight.ndim < 2:
        return f"its weight is {weight.dtype} of {weight.ndim} axes"
    if node.input[0] not in scaled:
        return "its input has no scale"
    if graph.maker(node.input[0]) == "Pad":
        return "a pad that cannot be folded comes before it"
    return ""


def _other_inputs(graph: RuleGraph, node: onnx.NodeProto, layers: set[str]) -> Iterator[int]:
    """Places of the inputs that a pool or an addition reads from a grid."""
    if node.op_type in _POOLS:
        yield 0
    if node.op_type == "Add" and not {*node.input} & graph.values.keys():
        products = [_product(graph, name, layers) for name in node.input]
        if any(products) and not is_normalised(graph, node):
            yield _skip(graph, node, products)


def _product(graph: RuleGraph, tensor: str, layers: set[str]) -> bool:
    """Whether a quantised layer writes it, or its batch norm, for one reader."""
    node = graph.made_by.get(tensor)
    if node is None or len(graph.readers.get(tensor, ())) != 1:
        return False
    if node.op_type == "BatchNormalization":
        return _product(graph, node.input[0], layers)
    return tensor in layers


def _skip(graph: RuleGraph, addition: onnx.NodeProto, products: list[bool]) -> int:
    """Which operand comes past the branch: no product, or of two the one with the older input."""
    if not all(products):
        return products.index(False)
    order = {name: n for n, node in enumerate(graph.model.graph.node) for name in node.output}
    ages = [order.get(_layer_input(graph, name), -1) for name in addition.input]
    return 0 if ages[0] < ages[1] else 1


def _layer_input(graph: RuleGraph, tensor: str) -> str:
    node = graph.made_by[tensor]
    if node.op_type == "BatchNormalization":
        node = graph.made_by[node.input[0]]
    return str(node.input[0])


def _concatenations(
    graph: RuleGraph,
    nodes: list[onnx.NodeProto],
    activations: dict[str, list[Reader]],
    scaled: frozenset[str],
) -> dict[str, str]:
    """Quantise the operands of concatenations whose result is; groups of tensors of one scale."""
    groups: dict[str, str] = {}
    for index, node in reversed(list(enumerate(nodes))):
        result = node.output[0] if node.output else ""
        if node.op_type != "Concat" or not {*node.input} <= scaled:
            continue
        moved = [*_moved(graph, result)]
        if activations.keys().isdisjoint(moved):
            continue
        for position, name in enumerate(node.input):
            activations.setdefault(name, []).append((index, position))
        _join(groups, [name for name in (*moved, *node.input) if name in scaled])
    return groups


def _moved(graph: RuleGraph, tensor: str) -> Iterator[str]:
    """The tensor and what others make of it by moving its values."""
    yield tensor
    for reader, _ in graph.readers.get(tensor, ()):
        if reader.op_type in MOVES:
            yield from _moved(graph, reader.output[0])


def _join(groups: dict[str, str], names: list[str]) -> None:
    joined = {groups.get(name, name) for name in names}
    for name in [*groups, *names]:
        if groups.get(name, name) in joined:
            groups[name] = names[0]
