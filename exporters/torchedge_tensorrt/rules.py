"""TensorRT's rules for explicit quantisation, Q1 to Q12, checked on any ONNX file.

From the documentation of ``IQuantizeLayer`` and ``IDequantizeLayer``, the importers of
onnx/onnx-tensorrt and NVIDIA's recommendations on where Q/DQ nodes go. Nothing is run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import onnx

from torchedge_onnx.graph import WEIGHTED_OPERATIONS, Constant, attribute
from torchedge_tensorrt.jetpacks import Version
from torchedge_tensorrt.placement_rules import PLACEMENT_RULES, Finding
from torchedge_tensorrt.rule_graph import QUANTIZERS, RuleGraph, rule_graph
from torchedge_tensorrt.target_rules import target_findings

__all__ = ["RULES", "Violation", "broken_rules"]


@final
@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken rule.

    Args:
        rule: ``Q1`` to ``Q12``.
        node: Name of the node, or of its first output where it has none.
        operation: What the node computes.
        text: What is wrong, and what to do.
    """

    rule: str
    node: str
    operation: str
    text: str


RULES: dict[str, str] = {
    "Q1": "a quantiser has three inputs: value, scale, zero point",
    "Q2": "zero points are int8 and 0, as many as scales",
    "Q3": "scales are constant, float32, finite and above zero",
    "Q4": "an activation has one scale for the whole tensor",
    "Q5": "a weight has one scale for each output channel, and the axis is written",
    "Q6": "a QuantizeLinear is read by DequantizeLinear with the same scale, and by nothing else",
    "Q7": "biases are not quantised",
    "Q8": "nothing sits between convolution, batch norm and activation, or pad and convolution",
    "Q9": "of an addition that reads a convolution, exactly the other operand is quantised",
    "Q10": "the operands of a concatenation share one scale",
    "Q11": "activation and weight of a layer are both quantised, or neither",
    "Q12": "opset, operators and shapes are those that the target's parser reads",
}


def broken_rules(
    model: onnx.ModelProto, tensorrt: Version, *, dla: bool = False
) -> tuple[Violation, ...]:
    """Every broken rule, by rule and then in the order of the graph.

    Args:
        model: Any ONNX graph.
        tensorrt: The version that is to read it.
        dla: Also what the deep learning accelerator asks for.
    """
    graph = rule_graph(model)
    checks: dict[str, Callable[[RuleGraph], Iterator[Finding]]] = _NUMBER_RULES | PLACEMENT_RULES
    found = [(rule, finding) for rule, check in checks.items() for finding in check(graph)]
    found += [("Q12", finding) for finding in target_findings(graph, tensorrt, dla=dla)]
    return tuple(
        Violation(
            rule=rule,
            node=node.name or (node.output[0] if node.output else ""),
            operation=node.op_type,
            text=text,
        )
        for rule, (node, text) in sorted(found, key=lambda item: int(item[0][1:]))
    )


def _three_inputs(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes(*QUANTIZERS):
        if len(node.input) != 3 or not all(node.input):
            yield node, f"it has {sum(map(bool, node.input))} inputs; add a zero point, int8 0"


def _zero_points(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes(*QUANTIZERS):
        if len(node.input) < 3 or not node.input[2]:
            continue
        zero, scale = graph.values.get(node.input[2]), graph.values.get(node.input[1])
        if fault := _fault_of_zero_point(zero, scale):
            yield node, fault


def _fault_of_zero_point(zero: Constant | None, scale: Constant | None) -> str:
    if zero is None:
        return "its zero point is not constant; make it an initialiser, int8 0"
    if zero.dtype != np.int8:
        return f"its zero point is {zero.dtype}; quantise to int8, symmetrically"
    if np.any(zero != 0):
        return f"its zero point is {zero.ravel()[0]}; quantise symmetrically, so it is 0"
    if scale is not None and zero.size != scale.size:
        return f"it has {scale.size} scales and {zero.size} zero points; give one for each"
    return ""


def _scales(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes(*QUANTIZERS):
        scale = graph.values.get(node.input[1]) if len(node.input) > 1 else None
        if fault := _fault_of_scale(scale):
            yield node, fault


def _fault_of_scale(scale: Constant | None) -> str:
    if scale is None:
        return "its scale is computed; TensorRT must know it when it builds the engine"
    if scale.dtype != np.float32:
        return f"its scale is {scale.dtype}; store it as float32"
    if not np.all(np.isfinite(scale)):
        return "a scale is infinite or NaN; calibrate again"
    if np.any(np.asarray(scale, dtype=np.float32) <= 0):
        return f"a scale is {float(scale.min())}; clamp it to a small positive number"
    return ""


def _activation_scales(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes(*QUANTIZERS):
        scale = graph.values.get(node.input[1]) if len(node.input) > 1 else None
        if scale is not None and scale.size != 1 and not graph.is_weight(node):
            yield node, f"this activation has {scale.size} scales; use one for the whole tensor"


def _weight_scales(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes(*QUANTIZERS):
        scale = graph.values.get(node.input[1]) if len(node.input) > 1 else None
        if scale is None or scale.size == 1 or not graph.is_weight(node):
            continue
        axis = attribute(node, "axis", None)
        if axis is None:
            yield node, "the axis of its scales is not written; ONNX and TensorRT assume others"
            continue
        yield from _axis_findings(graph, node, scale.size, int(str(axis)))


def _axis_findings(
    graph: RuleGraph, node: onnx.NodeProto, scales: int, axis: int
) -> Iterator[Finding]:
    weight = graph.values[graph.quantized_source(node.output[0])]
    axis = axis + weight.ndim if axis < 0 else axis
    if axis >= weight.ndim or weight.shape[axis] != scales:
        yield node, f"{scales} scales do not fit axis {axis} of the shape {list(weight.shape)}"
    for reader, position in _final_readers(graph, node):
        wanted = _output_channel_axis(reader, weight.ndim)
        if position == 1 and reader.op_type in WEIGHTED_OPERATIONS and axis != wanted:
            yield node, f"its axis is {axis}; the output channels of {reader.op_type} are {wanted}"


def _final_readers(
    graph: RuleGraph, quantizer: onnx.NodeProto
) -> Iterator[tuple[onnx.NodeProto, int]]:
    for reader, position in graph.readers.get(quantizer.output[0], ()):
        if reader.op_type == "DequantizeLinear":
            yield from graph.readers.get(reader.output[0], ())
        else:
            yield reader, position


def _output_channel_axis(node: onnx.NodeProto, rank: int) -> int:
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
        return rank - 1
    return 0


def _pairs(graph: RuleGraph) -> Iterator[Finding]:
    for node in graph.nodes("QuantizeLinear"):
        readers = [reader for reader, _ in graph.readers.get(node.output[0], ())]
        others = [reader for reader in readers if reader.op_type != "DequantizeLinear"]
        if others or not readers:
            what = f"{others[0].op_type} reads it" if others else "nothing reads it"
            yield node, f"{what}; put a DequantizeLinear behind it"
        for reader in readers:
            if reader.op_type == "DequantizeLinear" and not _same_scale(graph, node, reader):
                yield reader, f"its scale is not that of '{node.name or node.output[0]}'"
    for node in graph.nodes("DequantizeLinear"):
        is_integer_weight = node.input[0] in graph.values
        if graph.maker(node.input[0]) != "QuantizeLinear" and not is_integer_weight:
            yield node, "it reads what no QuantizeLinear wrote; quantise before it"


def _same_scale(graph: RuleGraph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    if min(len(first.input), len(second.input)) < 2:
        return True  # Q1 has said so
    one, other = (graph.values.get(node.input[1]) for node in (first, second))
    if one is None or other is None:
        return True  # Q3 has said so
    return np.array_equal(np.ravel(one), np.ravel(other))


_Rule: TypeAlias = Callable[[RuleGraph], Iterator[Finding]]
_NUMBER_RULES: dict[str, _Rule] = {
    "Q1": _three_inputs,
    "Q2": _zero_points,
    "Q3": _scales,
    "Q4": _activation_scales,
    "Q5": _weight_scales,
    "Q6": _pairs,
}
