"""Small questions about an ONNX graph."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, shape_inference

from torchedge.errors import ExportError

__all__ = [
    "WEIGHTED_OPERATIONS",
    "add_constant",
    "attribute",
    "constants",
    "copied",
    "producers",
    "real_inputs",
    "remove_unused",
    "replace_input",
    "replace_node",
    "tensor_shapes",
    "weight_chain",
    "weighted_macs",
]

Constant: TypeAlias = npt.NDArray[np.generic]

WEIGHTED_OPERATIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """An independent copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def constants(model: onnx.ModelProto) -> dict[str, Constant]:
    """Every initialiser by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that writes each tensor."""
    return {name: node for node in model.graph.node for name in node.output}


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


def add_constant(model: onnx.ModelProto, name: str, array: Constant) -> None:
    """Add an initialiser."""
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))


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
