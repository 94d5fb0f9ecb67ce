"""What a TensorRT version and its accelerator can read: rule Q12."""

from collections.abc import Iterator

import onnx

from torchedge_tensorrt.jetpacks import Version, newest_opset
from torchedge_tensorrt.operators import readable_operators
from torchedge_tensorrt.placement_rules import Finding
from torchedge_tensorrt.rule_graph import QUANTIZERS, RuleGraph

__all__ = ["target_findings"]

_ONNX_DOMAINS = {"", "ai.onnx"}
_LARGEST_DLA_BATCH = 4096
_LARGEST_DLA_SIZE = 8192


def target_findings(graph: RuleGraph, tensorrt: Version, *, dla: bool) -> Iterator[Finding]:
    """Opset, operators, and for the accelerator shapes and the kind of quantisation."""
    yield from _opset(graph.model, tensorrt)
    yield from _operators(graph, tensorrt)
    if dla:
        yield from _accelerator(graph, tensorrt)


def _opset(model: onnx.ModelProto, tensorrt: Version) -> Iterator[Finding]:
    limit = newest_opset(tensorrt)
    for entry in model.opset_import:
        if entry.domain in _ONNX_DOMAINS and entry.version > limit:
            yield (
                _whole_graph(model),
                f"its opset is {entry.version}; the parser of TensorRT {_name(tensorrt)} states "
                f"{limit}. Export at opset {limit}",
            )


def _operators(graph: RuleGraph, tensorrt: Version) -> Iterator[Finding]:
    readable = readable_operators(tensorrt)
    for node in graph.nodes():
        if node.domain not in _ONNX_DOMAINS:
            yield node, f"'{node.domain}' is not ONNX's own domain; it would take a plug-in"
        elif node.op_type not in readable:
            yield (
                node,
                f"{node.op_type} is not in the table of TensorRT {_name(tensorrt)}'s parser; use "
                "other layers, or a newer JetPack",
            )


def _accelerator(graph: RuleGraph, tensorrt: Version) -> Iterator[Finding]:
    if tensorrt < (11, 0, 0):
        for node in graph.nodes(QUANTIZERS[0]):
            yield (
                node,
                "the accelerator takes no Q/DQ before TensorRT 11; use the calibration cache",
            )
            break
    for value in graph.model.graph.input:
        dims = value.type.tensor_type.shape.dim
        sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
        if not sizes or min(sizes) < 1:
            text = "its shape is dynamic, which the accelerator cannot run; export a fixed shape"
            yield _input_node(value.name), text
        elif sizes[0] > _LARGEST_DLA_BATCH or max(sizes[1:], default=0) > _LARGEST_DLA_SIZE:
            yield _input_node(value.name), f"the shape {sizes} is beyond the accelerator's limits"


def _whole_graph(model: onnx.ModelProto) -> onnx.NodeProto:
    return onnx.NodeProto(name=model.graph.name or "graph", op_type="graph")


def _input_node(name: str) -> onnx.NodeProto:
    return onnx.NodeProto(name=name, op_type="input")


def _name(version: Version) -> str:
    return ".".join(str(part) for part in version)
