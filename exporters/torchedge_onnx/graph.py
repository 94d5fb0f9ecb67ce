"""Small questions about an ONNX graph."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, shape_inference

from torchedge.errors import ExportError

__all__ = [
    "KEEP_VALUES",
    "WEIGHTED_OPERATIONS",
    "add_constant",
    "attribute",
    "chain_before",
    "constants",
    "copied",
    "opset_of",
    "producers",
    "real_inputs",
    "remove_unused",
    "rename_values",
    "replace_input",
    "replace_node",
    "tensor_ranks",
    "tensor_shapes",
    "weight_chain",
    "weighted_macs",
]

Constant: TypeAlias = npt.NDArray[np.generic]

KEEP_VALUES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
WEIGHTED_OPERATIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_PLAIN_VALUES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """An independent copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def constants(model: onnx.ModelProto) -> dict[str, Constant]:
    """Every initialiser by name, and the dense numbers that ``Constant`` nodes hold."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        held = _held(node) if node.op_type == "Constant" else None
        if held is not None:
            values[node.output[0]] = held
    return values


def _held(constant: onnx.NodeProto) -> Constant | None:
    for found in constant.attribute:
        value = onnx.helper.get_attribute_value(found)
        if found.name == "value":
            return np.asarray(numpy_helper.to_array(value))
        if found.name in _PLAIN_VALUES:
            return np.asarray(value, _PLAIN_VALUES[found.name])
    return None


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators; 0 where the file names none."""
    own = [o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}]
    return max(own, default=0)


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that writes each tensor."""
    return {name: node for node in model.graph.node for name in node.output}


def chain_before(
    name: str, operations: tuple[str, ...], made_by: Mapping[str, onnx.NodeProto]
) -> tuple[onnx.NodeProto, ...] | None:
    """The nodes that lead to a tensor, the nearest first, if they are these operations."""
    chain: list[onnx.NodeProto] = []
    for operation in operations:
        node = made_by.get(name)
        if node is None or node.op_type != operation:
            return None
        chain.append(node)
        name = node.input[0]
    return tuple(chain)


def real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that a caller gives; old files list their initialisers beside them."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constant]


def attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    """Value of a node's attribute, or the default."""
    for found in node.attribute:
        if found.name == name:
            return onnx.helper.get_attribute_value(found)
    return default


def replace_input(model: onnx.ModelProto, old: str, new: str) -> None:
    """Let every reader of ``old`` read ``new``."""
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def rename_values(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give values of a graph other names, in place.

    Args:
        model: Without graphs inside its nodes.
        names: The new name by the old one. A value inside that has a new name already makes way:
            ``relu`` becomes ``relu.inner``.
    """
    graph = model.graph
    inner = {name for node in graph.node for name in node.output}
    inner |= constants(model).keys()
    new = {name: f"{name}.inner" for name in inner.intersection(names.values())} | dict(names)
    for node in graph.node:
        for listed in (node.input, node.output):
            listed[:] = [new.get(name, name) for name in listed]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)


def add_constant(model: onnx.ModelProto, name: str, array: Constant) -> None:
    """Add an initialiser of the same shape; a number stays one."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))


def replace_node(model: onnx.ModelProto, old: onnx.NodeProto, new: list[onnx.NodeProto]) -> None:
    """Put other nodes in the place of one."""
    index = list(model.graph.node).index(old)
    model.graph.node.remove(old)
    for offset, node in enumerate(new):
        model.graph.node.insert(index + offset, node)


def remove_unused(model: onnx.ModelProto) -> None:
    """Drop nodes whose results nobody reads, then initialisers and shapes of absent tensors."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
        unread = [node for node in graph.node if not any(name in read for name in node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
    present = {name for node in graph.node for name in node.output}
    for info in [v for v in graph.value_info if v.name not in present]:
        graph.value_info.remove(info)


def tensor_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Static shape of every tensor, by ONNX's own shape inference.

    Raises:
        ExportError: A shape is dynamic or cannot be inferred.
    """
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"ONNX cannot infer the shapes: {error}") from error
    shapes: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        dims = info.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[info.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def tensor_ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Number of axes of every tensor that ONNX's shape inference knows, open sizes or not."""
    graph = shape_inference.infer_shapes(model).graph
    ranks: dict[str, int] = {t.name: len(t.dims) for t in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        if info.type.tensor_type.HasField("shape"):
            ranks[info.name] = len(info.type.tensor_type.shape.dim)
    return ranks


def weight_chain(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> tuple[str, ...]:
    """Names that the weight of a node goes by: as read, and before each quantiser on the way."""
    chain = [node.input[1]]
    while (source := made_by.get(chain[-1])) is not None and source.op_type in {
        "DequantizeLinear",
        "QuantizeLinear",
    }:
        chain.append(source.input[0])
    return tuple(chain)


def weighted_macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Multiply-accumulates of one run of a convolution, ``Gemm`` or ``MatMul``."""
    weight, output = shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":
        return int(np.prod(output)) * int(np.prod(weight[1:]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(shapes[node.input[0]])) * int(np.prod(weight[1:]))
    inner = weight[1] if attribute(node, "transB", 0) else weight[-2]
    return int(np.prod(output)) * inner
