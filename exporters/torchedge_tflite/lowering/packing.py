"""A draft becomes the bytes of a .tflite file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torchedge_tflite.flatbuffer import schema
from torchedge_tflite.lowering.draft import Draft, DraftOperator, DraftTensor

__all__ = ["packed", "unique_names"]

_ALIGNMENT = 16  # kernels of small processors read weights by words
_SIGNATURE = b"serving_default"
_VERSIONS = {
    ("CONV_2D", "int8"): 3,
    ("DEPTHWISE_CONV_2D", "int8"): 3,
    ("FULLY_CONNECTED", "int8"): 4,
    ("BROADCAST_TO", "int8"): 3,
    ("BROADCAST_TO", "float32"): 3,
}
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "SOFTMAX": "SoftmaxOptions",
    "CONCATENATION": "ConcatenationOptions",
    "GELU": "GeluOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "GATHER": "GatherOptions",
    "RESHAPE": "ReshapeOptions",
    "BROADCAST_TO": "BroadcastToOptions",
    "TILE": "TileOptions",
    "ABS": "AbsOptions",
    "POW": "PowOptions",
    "NEG": "NegOptions",
    "TRANSPOSE": "TransposeOptions",
    "SLICE": "SliceOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "EXP": "ExpOptions",
    "HARD_SWISH": "HardSwishOptions",
    "QUANTIZE": "QuantizeOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MAXIMUM": "MaximumMinimumOptions",
}


def packed(draft: Draft, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
    """Write a file with one graph and one signature.

    Args:
        draft: Its tensors and operators.
        inputs: Tensors by the names that the signature gives them, in order.
        outputs: Likewise.
    """
    generated = schema()
    model = generated.ModelT()
    model.version, model.description = 3, b"torchedge"
    codes: list[tuple[str, int]] = []
    places = {b"": 0}  # of equal bytes, which are stored once; those of activations are empty
    graph = generated.SubGraphT()
    graph.name = b"main"
    names = unique_names([tensor.name for tensor in draft.tensors])
    graph.tensors = [
        _tensor(generated, tensor, name, places)
        for tensor, name in zip(draft.tensors, names, strict=True)
    ]
    graph.operators = [_operator(generated, op, draft, codes) for op in draft.operators]
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
    model.operatorCodes, model.subgraphs = [_code(generated, *code) for code in codes], [graph]
    model.buffers = _buffers(generated, places)
    model.signatureDefs = [_signature(generated, inputs, outputs)]
    return _bytes(model)


def _bytes(model: Any) -> bytes:  # noqa: ANN401
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _buffers(generated: Any, places: Mapping[bytes, int]) -> list[Any]:  # noqa: ANN401
    """Their bytes begin at multiples of 16, which the generated class does not see to."""

    class AlignedBuffer(generated.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: ANN401, N802 - the generated name
            place = None
            if self.data:
                builder.StartVector(1, len(self.data), _ALIGNMENT)
                builder.head = builder.head - len(self.data)
                builder.Bytes[builder.Head() : builder.Head() + len(self.data)] = self.data
                place = builder.EndVector()
            generated.BufferStart(builder)
            if place is not None:
                generated.BufferAddData(builder, place)
            return generated.BufferEnd(builder)

    made = []
    for data in places:  # in the order of their places
        buffer = AlignedBuffer()
        buffer.data = data
        made.append(buffer)
    return made


def unique_names(names: Sequence[str]) -> list[str]:
    """Names by which tools tell tensors apart; of equal ones, all but the first get a number.

    Example:
        >>> unique_names(["x", "shape", "shape", "shape#2", "shape"])
        ['x', 'shape', 'shape#3', 'shape#2', 'shape#4']
    """
    taken, counts, found = set(names), dict.fromkeys(names, 0), []
    for name in names:
        counts[name] += 1
        own = name
        while counts[name] > 1 and own in taken:
            own = f"{name}#{counts[name]}"
            counts[name] += own in taken
        taken.add(own)
        found.append(own)
    return found


def _tensor(
    generated: Any,  # noqa: ANN401
    tensor: DraftTensor,
    name: str,
    places: dict[bytes, int],
) -> Any:  # noqa: ANN401
    made = generated.TensorT()
    made.name, made.shape = name.encode(), list(tensor.shape)
    made.type = getattr(generated.TensorType, tensor.dtype.upper())
    data = b"" if tensor.data is None else tensor.data.tobytes()
    made.buffer = places.setdefault(data, len(places))
    made.hasRank = True
    if len(tensor.scales):
        numbers = generated.QuantizationParametersT()
        numbers.scale = tensor.scales.astype(np.float32)
        numbers.zeroPoint = tensor.zero_points.astype(np.int64)
        numbers.quantizedDimension = tensor.axis
        made.quantization = numbers
    return made


def _operator(
    generated: Any,  # noqa: ANN401
    operator: DraftOperator,
    draft: Draft,
    codes: list[tuple[str, int]],
) -> Any:  # noqa: ANN401
    read = [draft.tensors[index].dtype for index in operator.inputs if index >= 0]
    code = (operator.kind, _VERSIONS.get((operator.kind, read[0] if read else ""), 1))
    if code not in codes:
        codes.append(code)
    made = generated.OperatorT()
    made.opcodeIndex = codes.index(code)
    made.inputs, made.outputs = list(operator.inputs), list(operator.outputs)
    name = _OPTIONS.get(operator.kind)
    if name is not None:
        made.builtinOptionsType = getattr(generated.BuiltinOptions, name)
        made.builtinOptions = _options(generated, name, operator.options)
    return made


def _options(generated: Any, name: str, values: Mapping[str, object]) -> Any:  # noqa: ANN401
    made = getattr(generated, f"{name}T")()
    for key, value in values.items():
        if key == "fusedActivationFunction":
            value = getattr(generated.ActivationFunctionType, str(value))
        if key == "padding":
            value = getattr(generated.Padding, str(value))
        setattr(made, key, value)
    return made


def _code(generated: Any, kind: str, version: int) -> Any:  # noqa: ANN401
    made = generated.OperatorCodeT()
    number = getattr(generated.BuiltinOperator, kind)
    made.builtinCode, made.version = number, version
    made.deprecatedBuiltinCode = min(number, 127)
    return made


def _signature(
    generated: Any,  # noqa: ANN401
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
) -> Any:  # noqa: ANN401
    made = generated.SignatureDefT()
    made.signatureKey, made.subgraphIndex = _SIGNATURE, 0
    made.inputs, made.outputs = _ports(generated, inputs), _ports(generated, outputs)
    return made


def _ports(generated: Any, ports: Mapping[str, int]) -> Sequence[Any]:  # noqa: ANN401
    made = []
    for name, index in ports.items():
        port = generated.TensorMapT()
        port.name, port.tensorIndex = name.encode(), index
        made.append(port)
    return made
