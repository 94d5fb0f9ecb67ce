"""Where Q/DQ pairs may sit so that TensorRT fuses layers in INT8: rules Q7 to Q11."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import onnx

from torchedge_onnx.graph import WEIGHTED_OPERATIONS
from torchedge_tensorrt.rule_graph import RuleGraph

__all__ = ["PLACEMENT_RULES", "Finding", "is_normalised"]

Finding: TypeAlias = tuple[onnx.NodeProto, str]

_NORMALISATIONS = ("LayerNormalization", "GroupNormalization", "InstanceNormalization")
# What a stream passes on its way to a norm: sums, means, and operations that only move values.
_CARRYING = frozenset(
    {
        *("Add", "AveragePool", "GlobalAveragePool", "ReduceMean", "MaxPool", "Resize"),
        *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand"),
        *("Slice", "Split", "Gather", "Concat", "Pad", "DepthToSpace", "SpaceToDepth"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)
_PRODUCTS = WEIGHTED_OPERATIONS | {"BatchNormalization"}
_FUSED_ACTIVATIONS = frozenset(
    {
        *("BatchNormalization", "Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu"),
        *("Relu", "Selu", "Sigmoid", "Softplus", "Tanh"),
    }
)


def _biases(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes("Conv", "ConvTranspose", "Gemm"):
        if len(node.input) > 2 and graph.is_dequantized(node.input[2]):
            yield graph.made_by[node.input[2]], f"it quantises the bias of '{node.name}'; drop it"


def _between(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes():
        name = node.input[0] if node.input else ""
        if not graph.is_dequantized(name):
            continue
        source = graph.quantized_source(name)
        before = graph.maker(source)
        if before == "Pad" and not _pads_with_a_constant(graph.made_by[source]):
            continue  # mirrored borders are a layer of their own
        if move := _parted(before, node.op_type):
            text = f"it parts {before} and {node.op_type}, which run as one; {move}"
            yield graph.made_by[name], text


def _pads_with_a_constant(pad: onnx.NodeProto) -> bool:
    mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
    return bool(mode == b"constant")


def _parted(before: str, after: str) -> str:
    """What to do with a Q/DQ pair between two operations; empty where it may stay."""
    if before in _PRODUCTS and after in _FUSED_ACTIVATIONS:
        return "move it"
    return "move it up" if before == "Pad" and after in WEIGHTED_OPERATIONS else ""


def _additions(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes("Add"):
        operands = [name for name in node.input if name not in graph.values]
        if len(operands) != 2 or is_normalised(graph, node):
            continue
        sources = [graph.quantized_source(name) for name in operands]
        products = [_is_product(graph, s, name) for s, name in zip(sources, operands, strict=True)]
        quantized = [graph.is_dequantized(name) for name in operands]
        if any(products) and (text := _fault_of_addition(products, quantized)):
            yield node, text


def _is_product(graph: RuleGraph, source: str, operand: str) -> bool:
    """Whether the addition could run inside the convolution that wrote the operand."""
    if source == operand:
        return graph.is_fusable_product(source)
    pair_is_read_once = len(graph.readers.get(operand, ())) == 1
    return pair_is_read_once and graph.is_fusable_product(source)


def _fault_of_addition(products: list[bool], quantized: list[bool]) -> str:
    if all(quantized):
        return "both operands are quantised, so it is a kernel of its own; quantise the skip only"
    if not any(quantized):
        return "no operand is quantised, so the sum is in float; quantise the skip"
    if not all(products) and products[quantized.index(True)]:
        return "the convolution is quantised and the skip is not; quantise the skip only"
    return ""


def is_normalised(graph: RuleGraph, addition: onnx.NodeProto) -> bool:
    """Residual streams of transformers stay in float, also where they are moved or averaged."""
    waiting, seen = [addition], {addition.output[0]}
    while waiting:
        for reader, _ in graph.readers.get(waiting.pop().output[0], ()):
            if reader.op_type in _NORMALISATIONS:
                return True
            if reader.op_type in _CARRYING and reader.output[0] not in seen:
                seen.add(reader.output[0])
                waiting.append(reader)
    return False


def _concatenations(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes("Concat"):
        quantized = [graph.is_dequantized(name) for name in node.input]
        if not any(quantized):
            continue
        if not all(quantized):
            text = f"{sum(quantized)} of {len(quantized)} operands are quantised; all or none"
            yield node, text
            continue
        scales = [graph.scale_of(name) for name in node.input]
        known = [float(scale.ravel()[0]) for scale in scales if scale is not None and scale.size]
        if len(np.unique(np.asarray(known, dtype=np.float32))) > 1:
            yield (
                node,
                f"its operands have the scales {sorted(set(known))}; use the largest for all",
            )


def _layers(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes(*sorted(WEIGHTED_OPERATIONS)):
        if len(node.input) < 2:
            continue
        activation, weight = (graph.is_dequantized(name) for name in node.input[:2])
        if activation != weight:
            which, other = ("activation", "weight") if activation else ("weight", "activation")
            yield node, f"its {which} is quantised and its {other} is not; both or neither"


_Rule: TypeAlias = Callable[[RuleGraph], Iterator[Finding]]
PLACEMENT_RULES: dict[str, _Rule] = {
    "Q7": _biases,
    "Q8": _between,
    "Q9": _additions,
    "Q10": _concatenations,
    "Q11": _layers,
}
