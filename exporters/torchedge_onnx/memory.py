"""What running an ONNX graph would take, from shapes alone, before a runtime allocates anything."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, numpy_helper

from torchedge.bench.session import Array
from torchedge.reading.bounds import Value, most_live_bytes
from torchedge_onnx.graph import opset_of

__all__ = ["require_modest"]

_SMALL = 4_096
_MOST_OPERATIONS = 4 * 10**12
_PER_ELEMENT = 20  # what reading or writing one takes, in multiplications
_BYTES: Mapping[int, int] = {
    **{TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.INT64: 8},
    **{TensorProto.UINT64: 8, TensorProto.INT32: 4, TensorProto.UINT32: 4, TensorProto.INT16: 2},
    **{TensorProto.UINT16: 2, TensorProto.BFLOAT16: 2, TensorProto.STRING: 64},
}
# Arithmetic on shapes, which a graph may do with constants.
_OF_SHAPES = frozenset(
    {
        *("Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand"),
        *("Flatten", "Floor", "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul"),
        *("Neg", "Not", "Or", "Range", "ReduceProd", "Reshape", "ScatterND", "Slice", "Split"),
        *("Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
    }
)


def require_modest(model: ModelProto, most_bytes: int) -> None:
    """Refuse a graph that takes more than it may, or whose shapes depend on what it is given.

    Args:
        model: As :func:`torchedge_onnx.reading.checked_model` reads it. Open sizes count as 1.
        most_bytes: For all that lives at one time.

    Raises:
        ValueError: It is so.
    """
    walk = _Walk(model)
    made, operations = [_inputs(walk)], 0
    read: list[list[str]] = [[]]
    for node in model.graph.node:
        walk.step(node)
        made.append([_sized(name, walk, most_bytes) for name in node.output if name])
        read.append([name for name in node.input if name])
        operations += _operations(node, walk)
    kept = [*walk.constant, *(value.name for value in model.graph.input)]
    kept += [value.name for value in model.graph.output]
    peak = most_live_bytes(made, read, kept)
    if peak > most_bytes or operations > _MOST_OPERATIONS:
        raise ValueError(
            f"running it takes {peak:,} bytes at one time and {operations:,} multiplications; "
            f"{most_bytes:,} and {_MOST_OPERATIONS:,} are the most for a file of its size."
        )


def _inputs(walk: "_Walk") -> list[Value]:
    return [Value(name=name, bytes=_bytes(name, walk)) for name in walk.types]


def _sized(name: str, walk: "_Walk", most_bytes: int) -> Value:
    size = _bytes(name, walk)
    if size > most_bytes:
        raise ValueError(f"'{name[:60]}' of {walk.shape(name)} takes {size:,} bytes.")
    return Value(name=name, bytes=size)


def _bytes(name: str, walk: "_Walk") -> int:
    return math.prod(walk.shape(name)) * _BYTES.get(walk.types[name].tensor_type.elem_type, 1)


@final
class _Walk:
    """Types of all values so far, and what is known of those that shapes are computed from."""

    def __init__(self, model: ModelProto) -> None:
        self._version, self._model = opset_of(model), model
        self._imports = list(model.opset_import)
        self.types: dict[str, TypeProto] = {}
        self.constant = {tensor.name for tensor in model.graph.initializer}
        self._known: dict[str, TensorProto] = {}
        for value in model.graph.input:
            self.types[value.name] = _closed(value.type)
        for tensor in model.graph.initializer:
            self.types[tensor.name] = _type(tensor)
            self._learn(tensor.name, tensor)

    def shape(self, name: str) -> list[int]:
        """Static sizes of a value."""
        kind = self.types[name].tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
        if not kind.HasField("shape") or any(size < 0 for size in sizes):
            raise ValueError(f"the shape of '{name[:60]}' depends on values.")
        return sizes

    def step(self, node: NodeProto) -> None:
        """Learn the types of a node's results, and their values where shapes are computed."""
        schema = onnx.defs.get_schema(node.op_type, self._version, "")
        names = [name for name in node.input if name]
        types = {name: self.types[name] for name in names}
        data = {name: self._known[name] for name in names if name in self._known}
        found = _inferred(schema, node, types, data, self._imports)
        for name in node.output:
            if name:
                self.types[name] = found.get(name, TypeProto())
        if node.op_type == "Shape":
            self._learn(node.output[0], _shape_of(node, self.shape(node.input[0])))
        elif node.op_type == "Constant":
            self._constant(node)
        elif node.op_type in _OF_SHAPES and len(data) == len(set(names)):
            self._compute(node, data)

    def _constant(self, node: NodeProto) -> None:
        tensor = _constant_tensor(node)
        self.types[node.output[0]] = _type(tensor)
        self._learn(node.output[0], tensor)

    def _compute(self, node: NodeProto, data: Mapping[str, TensorProto]) -> None:
        if any(math.prod(self.shape(name)) > _SMALL for name in node.output if name):
            return
        for name, array in zip(node.output, _computed(node, data, self._model), strict=False):
            tensor = numpy_helper.from_array(np.asarray(array))
            self.types[name] = _type(tensor)
            self._learn(name, tensor)

    def _learn(self, name: str, tensor: TensorProto) -> None:
        if math.prod(tensor.dims) <= _SMALL and tensor.data_type != TensorProto.STRING:
            self._known[name] = tensor


def _inferred(
    schema: "onnx.defs.OpSchema",
    node: NodeProto,
    types: dict[str, TypeProto],
    data: dict[str, TensorProto],
    imports: "list[onnx.OperatorSetIdProto]",
) -> dict[str, TypeProto]:
    """ONNX's own inference for one node.

    Raises:
        ValueError: Its inputs do not fit the operator.
    """
    try:
        found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=imports
        )
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"'{node.name[:60]}' ({node.op_type}): {error}") from error
    return found


def _computed(
    node: NodeProto, data: Mapping[str, TensorProto], model: ModelProto
) -> Sequence[Array]:
    from onnx.reference import ReferenceEvaluator

    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in data.items()}
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_value_info(name, _type(tensor)) for name, tensor in data.items()],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output],
    )
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(alone).run(None, arrays))


def _constant_tensor(node: NodeProto) -> TensorProto:
    (held,) = node.attribute
    if held.HasField("t"):
        held_tensor: TensorProto = held.t
        return held_tensor
    value = onnx.helper.get_attribute_value(held)
    if held.name in {"value_float", "value_floats"}:
        return numpy_helper.from_array(np.asarray(value, np.float32))
    if held.name in {"value_int", "value_ints"}:
        return numpy_helper.from_array(np.asarray(value, np.int64))
    raise ValueError(f"a constant of the kind '{held.name[:60]}'.")


def _shape_of(node: NodeProto, sizes: Sequence[int]) -> TensorProto:
    named = {held.name: held.i for held in node.attribute}
    kept = sizes[named.get("start", 0) : named.get("end", len(sizes))]
    return numpy_helper.from_array(np.asarray(kept, np.int64))


def _type(tensor: TensorProto) -> TypeProto:
    return onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))


def _closed(kind: TypeProto) -> TypeProto:
    sizes = [dim.dim_value or 1 for dim in kind.tensor_type.shape.dim]
    return onnx.helper.make_tensor_type_proto(kind.tensor_type.elem_type, sizes)


def _operations(node: NodeProto, walk: _Walk) -> int:
    """Multiplications, or what takes as long."""
    read = [walk.shape(name) for name in node.input if name]
    written = [walk.shape(name) for name in node.output if name]
    elements = sum(map(math.prod, (*read, *written)))
    return _PER_ELEMENT * elements + _own_operations(node, read, written)


def _own_operations(node: NodeProto, read: list[list[int]], written: list[list[int]]) -> int:
    result = math.prod(written[0]) if written else 0
    if node.op_type in {"Conv", "ConvTranspose"}:
        of = read[0] if node.op_type == "ConvTranspose" else written[0]
        return math.prod(of) * math.prod(read[1][1:])
    if node.op_type in {"Gemm", "MatMul", "Einsum", "Det", "DFT"}:
        return result * max((size for shape in read for size in shape), default=1)
    if node.op_type in {"LSTM", "GRU", "RNN"}:
        return read[0][0] * sum(map(math.prod, read[1:]))
    window = next((held.ints for held in node.attribute if held.name == "kernel_shape"), ())
    return result * math.prod(window)
