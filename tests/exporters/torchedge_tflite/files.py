"""Makes .tflite files of one operator from plain values, without a converter."""

from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
_TYPES["float32"] = schema.TensorType.FLOAT32


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written; one with values is a constant."""

    shape: tuple
    scale: float | tuple = 1.0
    zero_point: int = 0
    axis: int = 0
    dtype: str = "int8"
    values: np.ndarray | None = None


def file_of(operator, inputs, outputs, options=None):
    """The bytes of a file; ``inputs`` are tensors or ``None``, constants among them."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = []
    places = [_added(tensor, graph, model) for tensor in (*inputs, *outputs)]
    taken = [p for p, t in zip(places, inputs, strict=False) if t is not None and t.values is None]
    graph.inputs, graph.outputs = _indices(taken), _indices(places[len(inputs) :])
    graph.operators = [_operator(operator, places, len(inputs), options, model)]
    model.subgraphs = [graph]
    model.signatureDefs = [_signature(graph)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _added(tensor, graph, model):
    if tensor is None:
        return -1
    stored = schema.TensorT()
    stored.name = f"t{len(graph.tensors)}"
    stored.shape, stored.type = np.array(tensor.shape, np.int32), _TYPES[tensor.dtype]
    stored.quantization = schema.QuantizationParametersT()
    if tensor.dtype == "int8" or tensor.scale != 1.0:
        scales = np.atleast_1d(np.array(tensor.scale, np.float32))
        stored.quantization.scale = scales
        stored.quantization.zeroPoint = np.full(len(scales), tensor.zero_point, np.int64)
        stored.quantization.quantizedDimension = tensor.axis
    stored.buffer = 0
    if tensor.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(tensor.values).tobytes(), np.uint8)
        stored.buffer = len(model.buffers)
        model.buffers.append(buffer)
    graph.tensors.append(stored)
    return len(graph.tensors) - 1


def _operator(name, places, count, options, model):
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    model.operatorCodes = [code]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = _indices(places[:count]), _indices(places[count:])
    if options is not None:
        kind, numbers = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        for field, value in numbers.items():
            setattr(operator.builtinOptions, field, value)
    return operator


def _signature(graph):
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = [_entry("input", i, t) for i, t in enumerate(graph.inputs)]
    signature.outputs = [_entry("output", i, t) for i, t in enumerate(graph.outputs)]
    return signature


def _entry(kind, index, tensor):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = f"{kind}_{index}", int(tensor)
    return entry


def _indices(places):
    return np.array(places, np.int32)
