"""What an ONNX file from elsewhere may hold; everything else is refused by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torchedge.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    import onnx

__all__ = ["require_known_kind"]

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_RANDOM = frozenset(
    {
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
        "RandomUniformLike",
    }
)
_QUANTIZED = frozenset(
    {
        *("ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
        *("QLinearConv", "QLinearMatMul", "QuantizeLinear"),
    }
)
_OWN_DOMAINS = frozenset({"", "ai.onnx"})
_WHOLE = ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL")


def require_known_kind(path: Path, model: "onnx.ModelProto") -> None:
    """Refuse a file that is no plain float network: tensors in, tensors out, the same every time.

    Args:
        path: For the text.
        model: The file, its local functions inlined.

    Raises:
        ArtifactError: It has quantised operators, whose scheme is not known here.
        UsageError: It has control flow, operators of other makers or of chance, inputs or outputs
            that are no tensors, or floats other than float32 as inputs.
    """
    for node in model.graph.node:
        _require_node(path, node)
    if not any(True for _ in _given(model)):
        raise UsageError(f"'{path}' has no input, so it answers the same always; give a network.")
    for what, values in (("input", _given(model)), ("output", model.graph.output)):
        for value in values:
            _require_tensor(path, what, value)
    if model.graph.sparse_initializer:
        raise UsageError(f"'{path}' has sparse weights; store them as dense ones.")


def _given(model: "onnx.ModelProto") -> "Iterator[onnx.ValueInfoProto]":
    from torchedge_onnx.graph import real_inputs

    found = real_inputs(model)
    yield from found


def _require_node(path: Path, node: "onnx.NodeProto") -> None:
    called = f"'{node.name or next(iter(node.output), '')}' of '{path}' is {node.op_type}"
    if node.op_type in _QUANTIZED and node.domain in _OWN_DOMAINS:
        raise ArtifactError(
            f"'{path}' has {node.op_type} nodes, and a file does not say which scheme they were "
            "trained for. Give the float network."
        )
    if node.domain not in _OWN_DOMAINS:
        raise UsageError(
            f"{called} of the domain '{node.domain}', which is none of ONNX's own; export the "
            "network with ONNX's operators alone."
        )
    if node.op_type in _CONTROL_FLOW:
        raise UsageError(
            f"{called}, control flow, which no target here runs; export the network with its "
            "loops unrolled and its conditions fixed."
        )
    if node.op_type in _RANDOM:
        raise UsageError(
            f"{called} and answers otherwise every time; export the network for inference."
        )


def _require_tensor(path: Path, what: str, value: "onnx.ValueInfoProto") -> None:
    from onnx import TensorProto

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        shown = {"sequence_type": "a sequence", "optional_type": "optional"}.get(kind or "", kind)
        raise UsageError(
            f"{what} '{value.name}' of '{path}' is {shown or 'of no type'}; networks here take and "
            "give plain tensors."
        )
    found = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if found not in {"FLOAT", *_WHOLE}:
        way = "begin the network behind it" if what == "input" else "end the network before it"
        raise UsageError(f"{what} '{value.name}' of '{path}' is {found}, no float32; {way}.")
