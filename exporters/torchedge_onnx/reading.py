"""ONNX files of strangers: every tensor is held against the bytes that are there."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
import onnx.inliner
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from torchedge.errors import ArtifactError
from torchedge.reading.files import open_regular, read_bounded, require_inside
from torchedge.reading.names import one_line, require_file_name, what_is_wrong_with_text

__all__ = ["OWN_DOMAINS", "checked_model"]

OWN_DOMAINS = frozenset({"", "ai.onnx"})
_MOST_BYTES = 2**31 - 1  # of a file of protobuf
_MOST_NODES, _MOST_CALLS, _DEEPEST = 50_000, 50_000, 16
_MOST_AXES = 64
_BITS: Mapping[int, int] = {
    **{TensorProto.FLOAT: 32, TensorProto.DOUBLE: 64, TensorProto.FLOAT16: 16},
    **{TensorProto.BFLOAT16: 16, TensorProto.BOOL: 8, TensorProto.INT8: 8, TensorProto.UINT8: 8},
    **{TensorProto.INT16: 16, TensorProto.UINT16: 16, TensorProto.INT32: 32},
    **{TensorProto.UINT32: 32, TensorProto.INT64: 64, TensorProto.UINT64: 64},
    **{TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT8E4M3FN: 8},
    **{TensorProto.FLOAT8E5M2: 8},
}
_FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_RUNS_GRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def checked_model(path: Path) -> ModelProto:
    """Parse a file, with what it keeps in other files of its folder, and inline its functions.

    Raises:
        ArtifactError: It is damaged, a tensor is not as long as its shape, external data lie
            outside the folder, or it has functions that call themselves, graphs inside nodes, or
            operators that are not ONNX's own.
    """
    data = read_bounded(path, _MOST_BYTES)
    try:
        model = ModelProto.FromString(data)
        _require_plain(model)
        _with_external_data(model, path.parent)
        for tensor in _tensors(model):
            _require_full(tensor)
        model = _inlined(model)
        _require_own_operators(model.graph)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's exceptions have no common base
        said = one_line(error).rstrip(".")
        raise ArtifactError(
            f"'{path}' ({len(data):,} bytes) is no intact ONNX file: {said}. Copy or export it "
            "again."
        ) from error
    return model


def _require_plain(model: ModelProto) -> None:
    if not model.graph.node and not model.graph.output:
        raise ValueError("it holds no graph.")
    if model.training_info or len(model.functions) > _MOST_CALLS:
        raise ValueError("it holds training information.")
    count = len(model.graph.node) + sum(len(function.node) for function in model.functions)
    if count > _MOST_NODES:
        raise ValueError(f"it has {count:,} nodes; {_MOST_NODES:,} are the most.")
    for graph in (model.graph, *model.functions):
        _require_plain_nodes(graph.node)
    if model.graph.sparse_initializer:
        raise ValueError("it holds sparse tensors.")
    values = (*model.graph.input, *model.graph.output, *model.graph.initializer)
    for value in values:
        if wrong := what_is_wrong_with_text(value.name):
            raise ValueError(f"the name of a tensor {wrong}.")


def _require_plain_nodes(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        if node.op_type in _RUNS_GRAPHS or any(_holds_graph(a) for a in node.attribute):
            raise ValueError(f"its node '{node.name[:60]}' ({node.op_type[:60]}) holds a graph.")


def _holds_graph(attribute: AttributeProto) -> bool:
    kinds = (attribute.HasField("g"), len(attribute.graphs), attribute.HasField("sparse_tensor"))
    return any((*kinds, len(attribute.sparse_tensors), len(attribute.type_protos)))


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    graphs = (model.graph, *model.functions)
    nodes = (node for graph in graphs for node in graph.node)
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t


def _require_full(tensor: TensorProto) -> None:
    """A tensor whose values are exactly as many as its shape says."""
    count = _count(tensor)
    if tensor.data_type == TensorProto.STRING:
        present, wanted = len(tensor.string_data), count
    elif tensor.HasField("raw_data"):
        present, wanted = len(tensor.raw_data), math.ceil(count * _bits(tensor) / 8)
    else:
        present = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data")))
        wanted = math.ceil(count / 2) if _bits(tensor) == 4 else count
    if present != wanted or tensor.HasField("segment"):
        raise ValueError(
            f"the tensor '{tensor.name[:60]}' of {list(tensor.dims)} has {present:,} values or "
            f"bytes, not {wanted:,}."
        )


def _count(tensor: TensorProto) -> int:
    if len(tensor.dims) > _MOST_AXES or any(size < 0 for size in tensor.dims):
        raise ValueError(f"the tensor '{tensor.name[:60]}' has the shape {list(tensor.dims)[:8]}.")
    return math.prod(tensor.dims)


def _bits(tensor: TensorProto) -> int:
    if tensor.data_type not in _BITS:
        raise ValueError(f"the tensor '{tensor.name[:60]}' is of type {tensor.data_type}.")
    return _BITS[tensor.data_type]


def _with_external_data(model: ModelProto, folder: Path) -> None:
    """Take values from files of the same folder into the model."""
    left = _MOST_BYTES
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        wanted = math.ceil(_count(tensor) * _bits(tensor) / 8)
        left -= wanted
        if left < 0:
            raise ValueError(f"its external data have more than {_MOST_BYTES:,} bytes.")
        tensor.raw_data = _external(tensor, folder, wanted)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _external(tensor: TensorProto, folder: Path, wanted: int) -> bytes:
    said = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = int(said.get("offset", "0")), int(said.get("length", str(wanted)))
    path = require_inside(folder, require_file_name(said["location"]))
    with open_regular(path) as stream:
        present = stream.seek(0, 2)
        if length != wanted or not 0 <= offset <= present - length:
            raise ValueError(
                f"the tensor '{tensor.name[:60]}' takes {wanted:,} bytes, and {length:,} from "
                f"{offset:,} on in a file of {present:,} are named."
            )
        stream.seek(offset)
        return stream.read(length)


def _inlined(model: ModelProto) -> ModelProto:
    if not model.functions:
        return model
    _require_finite_calls(model)
    inlined: ModelProto = onnx.inliner.inline_local_functions(model)
    return inlined


def _require_finite_calls(model: ModelProto) -> None:
    """No function that calls itself, and no few that make billions of nodes."""
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    if len(bodies) != len(model.functions):
        raise ValueError("two of its functions have one name.")
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[NodeProto], depth: int) -> int:
        if depth > _DEEPEST:
            raise ValueError(f"its functions call each other more than {_DEEPEST} deep.")
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                sizes[key] = size(bodies[key], depth + 1)
            total += sizes.get(key, 1)
        if total > _MOST_NODES:
            raise ValueError(f"its functions make more than {_MOST_NODES:,} nodes.")
        return total

    size(model.graph.node, 0)


def _require_own_operators(graph: GraphProto) -> None:
    _require_plain_nodes(graph.node)
    for node in graph.node:
        if node.domain not in OWN_DOMAINS:
            raise ValueError(
                f"its node '{node.name[:60]}' is '{node.op_type[:60]}' of '{node.domain[:60]}', "
                "which is no operator of ONNX's own."
            )
