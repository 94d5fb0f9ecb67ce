"""Q/DQ pairs put into a float ONNX graph; which tensors get one is the caller's to say."""

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import onnx
from onnx import helper

from torchedge_onnx.graph import Constant, add_constant, copied

__all__ = ["Pair", "Reader", "with_pairs"]

Reader: TypeAlias = tuple[int, int]


@final
@dataclass(frozen=True, kw_only=True)
class Pair:
    """A tensor, its grid, and who reads it from the grid; other readers keep the float tensor.

    Args:
        tensor: An activation, a graph input or an initialiser.
        scale: float32; a number, or one for each index of ``axis``.
        zero_point: Of the integers' type, shaped like ``scale``.
        readers: Places of nodes in the graph, and of their inputs.
        axis: Of several scales.
    """

    tensor: str
    scale: Constant
    zero_point: Constant
    readers: tuple[Reader, ...]
    axis: int | None = None


def with_pairs(model: onnx.ModelProto, pairs: tuple[Pair, ...]) -> onnx.ModelProto:
    """A copy in which each pair stands before the first of its readers.

    Names of other nodes and tensors stay as they are.

    Example:
        >>> node = helper.make_node("Relu", ["x"], ["y"])
        >>> model = helper.make_model(helper.make_graph([node], "one", [], []))
        >>> scale, zero = np.array(0.5, np.float32), np.array(0, np.int8)
        >>> pair = Pair(tensor="x", scale=scale, zero_point=zero, readers=((0, 0),))
        >>> [n.op_type for n in with_pairs(model, (pair,)).graph.node]
        ['QuantizeLinear', 'DequantizeLinear', 'Relu']
    """
    changed = copied(model)
    nodes = list(changed.graph.node)
    before: dict[int, list[onnx.NodeProto]] = {}
    taken = _names(changed)
    for pair in pairs:
        prefix = _free(f"{pair.tensor}.grid", taken)
        first = min(index for index, _ in pair.readers)
        before.setdefault(first, []).extend(_pair_nodes(changed, pair, prefix))
        for index, position in pair.readers:
            nodes[index].input[position] = f"{prefix}.real"
    ordered = [n for index, node in enumerate(nodes) for n in (*before.get(index, ()), node)]
    del changed.graph.node[:]
    changed.graph.node.extend(ordered)
    return changed


def _pair_nodes(model: onnx.ModelProto, pair: Pair, prefix: str) -> list[onnx.NodeProto]:
    add_constant(model, f"{prefix}.scale", np.asarray(pair.scale, np.float32))
    add_constant(model, f"{prefix}.zero_point", np.asarray(pair.zero_point))
    numbers = [f"{prefix}.scale", f"{prefix}.zero_point"]
    axis = [] if pair.axis is None else [helper.make_attribute("axis", pair.axis)]
    steps = (
        ("QuantizeLinear", pair.tensor, f"{prefix}.integers"),
        ("DequantizeLinear", f"{prefix}.integers", f"{prefix}.real"),
    )
    made = []
    for kind, source, result in steps:
        node = helper.make_node(kind, [source, *numbers], [result], name=f"{prefix}.{kind}")
        node.attribute.extend(axis)
        made.append(node)
    return made


def _names(model: onnx.ModelProto) -> set[str]:
    graph = model.graph
    inner = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
    return inner | {value.name for value in (*graph.input, *graph.output, *graph.initializer)}


def _free(wanted: str, taken: set[str]) -> str:
    """A prefix under which the graph has no name yet; taken from then on."""
    name, number = wanted, 1
    while any(other.startswith(f"{name}.") for other in taken):
        number += 1
        name = f"{wanted}_{number}"
    taken.add(f"{name}.scale")
    return name
