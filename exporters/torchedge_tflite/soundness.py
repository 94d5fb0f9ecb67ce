"""Whether a parsed .tflite file is one that a runtime can run without being led astray."""

import math

from torchedge.errors import ArtifactError
from torchedge.reading.bounds import Value, allowed_bytes, most_live_bytes
from torchedge.reading.names import one_line
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, Operator, parse

__all__ = ["require_sound"]

_BYTES = {"float32": 4, "float16": 2, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "int8": 1}
_BYTES |= {"bool": 1, "int4": 1}
_OPERATORS = frozenset(
    {
        *("ABS", "ADD", "ADD_N", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL"),
        *("BATCH_TO_SPACE_ND", "BROADCAST_TO", "CAST", "CEIL", "CONCATENATION", "CONV_2D"),
        *("CONV_3D", "CONV_3D_TRANSPOSE", "COS", "CUMSUM", "DEPTHWISE_CONV_2D"),
        *("DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "ELU", "EQUAL", "EXP", "EXPAND_DIMS", "FILL"),
        *("FLOOR", "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED", "GATHER", "GATHER_ND", "GELU"),
        *("GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION", "LEAKY_RELU", "LESS"),
        *("LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC"),
        *("LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG"),
        *("NOT_EQUAL", "ONE_HOT", "PACK", "PAD", "PADV2", "POW", "PRELU", "QUANTIZE", "RANGE"),
        *("REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "RELU"),
        *("RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR"),
        *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "ROUND", "RSQRT", "SCATTER_ND", "SELECT"),
        *("SELECT_V2", "SHAPE", "SIGN", "SIN", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND"),
        *("SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE"),
        *("SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TOPK_V2", "TRANSPOSE"),
        *("TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNPACK", "ZEROS_LIKE"),
    }
)


def require_sound(data: bytes, what: str) -> tuple[FlatModel, int]:
    """Parse a file that is to be run.

    Args:
        data: Its bytes.
        what: The file, for texts.

    Returns:
        The network, and the most bytes that its tensors take at one time.

    Raises:
        ArtifactError: It is damaged, or has operators that this package never writes; a tensor is
            read before it is written, or of an open shape; or it takes more memory than a file of
            its size may.
        MissingDependencyError: ai-edge-litert is not installed.
    """
    flat = parse(data)
    try:
        _require_operators(flat)
        _require_order(flat)
        peak = _peak(flat)
    except ValueError as error:
        raise ArtifactError(f"{what} is not run: {one_line(error)}; export it again.") from error
    if peak > allowed_bytes(len(data)):
        raise ArtifactError(
            f"{what} is not run: it takes {peak:,} bytes at one time, more than the "
            f"{allowed_bytes(len(data)):,} that a file of its size may."
        )
    return flat, peak


def _require_operators(flat: FlatModel) -> None:
    for operator in flat.operators:
        if operator.name not in _OPERATORS:
            raise ValueError(f"it has the operator {operator.name[:60]!r}")
        if not operator.outputs:
            raise ValueError(f"its {operator.name} writes nothing")


def _require_order(flat: FlatModel) -> None:
    """Everything that is read is an input, stored, or was written before; and written once."""
    stored = {tensor.index for tensor in flat.tensors if tensor.values is not None}
    if stored & {*flat.inputs}:
        raise ValueError("it stores values for an input")
    there = stored | {*flat.inputs}
    for operator in flat.operators:
        for index in operator.inputs:
            if index != -1 and index not in there and not _is_state(flat, operator):
                raise ValueError(f"its {operator.name} reads tensor {index} before it is written")
        for index in operator.outputs:
            if index in there or not 0 <= index < len(flat.tensors):
                raise ValueError(f"its {operator.name} writes tensor {index} again")
            there.add(index)
    ends = {*flat.outputs, *flat.signature.values()}
    if not ends <= there or not flat.outputs or not flat.inputs:
        raise ValueError("it returns what is never written")


def _is_state(flat: FlatModel, operator: Operator) -> bool:
    return operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" and all(
        -1 <= index < len(flat.tensors) for index in operator.inputs
    )


def _peak(flat: FlatModel) -> int:
    made = [[_value(tensor) for tensor in flat.tensors if _is_given(tensor, flat)]]
    read: list[list[str]] = [[]]
    for operator in flat.operators:
        made.append([_value(flat.tensors[index]) for index in operator.outputs])
        read.append([str(index) for index in operator.inputs])
    kept = [str(value.name) for value in made[0]] + [str(index) for index in flat.outputs]
    return most_live_bytes(made, read, kept)


def _is_given(tensor: FlatTensor, flat: FlatModel) -> bool:
    return tensor.values is not None or tensor.index in flat.inputs


def _value(tensor: FlatTensor) -> Value:
    if tensor.dtype not in _BYTES:
        raise ValueError(f"its tensor '{tensor.name[:60]}' is of type {tensor.dtype}")
    if any(size < 0 for size in tensor.shape):
        raise ValueError(f"its tensor '{tensor.name[:60]}' has the shape {list(tensor.shape)}")
    return Value(name=str(tensor.index), bytes=math.prod(tensor.shape) * _BYTES[tensor.dtype])
