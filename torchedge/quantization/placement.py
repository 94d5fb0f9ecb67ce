"""Where quantisers sit: a backend's :class:`~torchedge.scheme.Placement` applied to a graph."""

from collections.abc import Iterator
from typing import TypeAlias

from torch import fx

from torchedge.quantization.operations import SELECTING, Kind, kind_of, operands, vanishes
from torchedge.scheme import Placement

__all__ = ["FIXED_RANGES", "QuantizedReads", "quantized_reads", "scale_groups"]

QuantizedReads: TypeAlias = dict[fx.Node, set[fx.Node]]

# 256 steps of 1/256 and of 1/128: what integer kernels of these functions always return.
FIXED_RANGES: dict[Kind, tuple[float, float]] = {
    "sigmoid": (0.0, 255 / 256),
    "softmax": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}
_READS_ALL: frozenset[Kind] = frozenset({"add", "multiply", "concat"})
_WHERE_READ: frozenset[Kind] = frozenset({"multiply", "concat"})
_STORED_WHERE_MADE: frozenset[Kind] = frozenset({"multiply", "sigmoid"})


def quantized_reads(graph_module: fx.GraphModule, placement: Placement) -> QuantizedReads:
    """Each tensor that gets a quantiser, with the nodes that read the quantised values.

    Other readers of the same tensor keep the float values: a backend that fuses a convolution into
    the addition after it must not see that operand rounded. A concatenation or a product, where the
    backend does not store every one as integers, is quantised only where an integer operation reads
    it: boxes and scores that are joined or multiplied for the output keep their own precision. The
    additions of a stream that is normalised again and again stay in float.
    """
    reads: QuantizedReads = {}
    for node in graph_module.graph.nodes:
        kind = kind_of(node, graph_module)
        if kind in placement.outputs_of and not _is_normalised_stream(node, graph_module):
            tensor = _end_of_fusion(node, graph_module)
            reads[tensor] = set(tensor.users)
    depths = _weighted_depths(graph_module)
    for node in reversed(graph_module.graph.nodes):  # a concatenation or product after its reader
        for operand in _integer_operands(node, graph_module, placement, depths, reads):
            if not _is_quantized(operand, node, graph_module, reads):
                tensor, reader = _where_made(operand, node, graph_module, placement)
                reads.setdefault(tensor, set()).add(reader)
    position = {node: index for index, node in enumerate(graph_module.graph.nodes)}
    return {tensor: reads[tensor] for tensor in sorted(reads, key=position.__getitem__)}


def scale_groups(
    graph_module: fx.GraphModule, reads: QuantizedReads, placement: Placement
) -> dict[fx.Node, fx.Node]:
    """For each quantised tensor the first tensor of those that share its scale.

    A result whose values are all values of its operands has their scale, and so has, where the
    backend computes it so, the result of the operations in ``same_scale``. A concatenation that is
    not among those shares one scale only where a ReLU is behind each operand: on a grid that does
    not begin at zero, that ReLU would keep its convolution in float.
    """
    parent = {tensor: tensor for tensor in reads}
    position = {node: index for index, node in enumerate(graph_module.graph.nodes)}

    def root(tensor: fx.Node) -> fx.Node:
        while parent[tensor] is not tensor:
            tensor = parent[tensor]
        return tensor

    for tensor in reads:
        for source in _scale_sources(tensor, graph_module, reads, placement):
            first, second = sorted((root(tensor), root(source)), key=position.__getitem__)
            parent[second] = first
    return {tensor: root(tensor) for tensor in reads}


def _scale_sources(
    tensor: fx.Node, graph_module: fx.GraphModule, reads: QuantizedReads, placement: Placement
) -> Iterator[fx.Node]:
    """Quantised tensors whose values, unchanged or in the same scale, are in ``tensor``."""
    kind = kind_of(tensor, graph_module)
    if kind not in SELECTING and kind not in placement.same_scale:
        return
    clipped = all(_is_clipped(operand, graph_module) for operand in operands(tensor))
    if kind == "concat" and kind not in placement.same_scale and not clipped:
        return
    for operand in operands(tensor):
        if tensor in reads.get(operand, ()):
            yield operand
        else:
            yield from _scale_sources(operand, graph_module, reads, placement)


def _is_clipped(tensor: fx.Node, graph_module: fx.GraphModule) -> bool:
    kind = kind_of(tensor, graph_module)
    sources = operands(tensor)
    if kind in SELECTING and sources:
        return all(_is_clipped(source, graph_module) for source in sources)
    return kind == "activation"


def _integer_operands(
    node: fx.Node,
    graph_module: fx.GraphModule,
    placement: Placement,
    depths: dict[fx.Node, int],
    reads: QuantizedReads,
) -> list[fx.Node]:
    kind = kind_of(node, graph_module)
    if kind == "add" and _is_normalised_stream(node, graph_module):
        return []
    if kind == "add" and placement.fused_add:
        fused = _fused_operand(operands(node), graph_module, depths)
        return [operand for operand in operands(node) if operand is not fused]
    if kind not in placement.inputs_of:
        return []
    if kind in _WHERE_READ and not _is_stored(node, graph_module, reads):
        return []
    return operands(node) if kind in _READS_ALL else operands(node)[:1]


def _is_normalised_stream(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """An addition that a layer or group norm reads: at once, through further ones, or averaged."""
    if kind_of(node, graph_module) != "add":
        return False
    waiting = list(node.users)
    seen = set(waiting)
    while waiting:
        user = waiting.pop()
        kind = kind_of(user, graph_module)
        if kind == "normalisation":
            return True
        if kind in {"add", "average_pool"} or kind in SELECTING:
            waiting += [further for further in user.users if further not in seen]
            seen |= set(user.users)
    return False


def _fused_operand(
    found: list[fx.Node], graph_module: fx.GraphModule, depths: dict[fx.Node, int]
) -> fx.Node | None:
    """The convolution that the addition runs inside of: of two, the one on the longer branch."""
    branches = [operand for operand in found if _is_fusable_layer(operand, graph_module)]
    return max(branches, key=lambda operand: depths[operand], default=None)


def _is_fusable_layer(operand: fx.Node, graph_module: fx.GraphModule) -> bool:
    """A layer that only this reader reads, with nothing between them in an exported graph."""
    while vanishes(operand, graph_module) and len(operand.users) == 1:
        operand = operand.all_input_nodes[0]
    return kind_of(operand, graph_module) in {"conv", "linear"} and len(operand.users) == 1


def _weighted_depths(graph_module: fx.GraphModule) -> dict[fx.Node, int]:
    depths: dict[fx.Node, int] = {}
    for node in graph_module.graph.nodes:
        weighted = kind_of(node, graph_module) in {"conv", "linear"}
        depths[node] = weighted + max((depths[n] for n in node.all_input_nodes), default=0)
    return depths


def _end_of_fusion(node: fx.Node, graph_module: fx.GraphModule) -> fx.Node:
    """The activation right after ``node`` where it is the only reader, else ``node``."""
    end = node
    while len(end.users) == 1:
        end = next(iter(end.users))
        if kind_of(end, graph_module) == "activation":
            return end
        if not vanishes(end, graph_module):
            return node
    return node


def _where_made(
    operand: fx.Node, reader: fx.Node, graph_module: fx.GraphModule, placement: Placement
) -> tuple[fx.Node, fx.Node]:
    """Where the values that ``reader`` wants are quantised: a product or gate, before it is moved.

    An integer kernel of a product writes integers itself; behind a reshaped gate it would not.
    """
    tensor, moved_by = operand, reader
    while kind_of(tensor, graph_module) == "same_values" and len(tensor.users) == 1:
        if not operands(tensor):
            break
        tensor, moved_by = operands(tensor)[0], tensor
    made = kind_of(tensor, graph_module) in _STORED_WHERE_MADE and len(tensor.users) == 1
    return (tensor, moved_by) if made and "multiply" in placement.inputs_of else (operand, reader)


def _is_stored(node: fx.Node, graph_module: fx.GraphModule, reads: QuantizedReads) -> bool:
    """Whether a result is quantised, at once or after what runs inside of its operation."""
    while node not in reads and len(node.users) == 1:
        node = next(iter(node.users))
        if kind_of(node, graph_module) != "activation" and not vanishes(node, graph_module):
            return False
    return node in reads


def _is_quantized(
    tensor: fx.Node, reader: fx.Node, graph_module: fx.GraphModule, reads: QuantizedReads
) -> bool:
    while reader not in reads.get(tensor, ()):
        sources = operands(tensor)
        if kind_of(tensor, graph_module) != "same_values" or not sources:
            return False
        tensor, reader = sources[0], tensor
    return True
