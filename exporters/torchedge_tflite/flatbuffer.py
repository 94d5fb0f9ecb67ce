"""What a .tflite file says, as plain values: operators, tensors, scales, zero points, bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, MissingDependencyError
from torchedge.reading.files import read_bounded
from torchedge_tflite.structure import require_structure

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "WEIGHT_INPUT",
    "FlatModel",
    "FlatTensor",
    "Operator",
    "Option",
    "parse",
    "read_model",
    "schema",
]

Option: TypeAlias = int | float | bool

# Where a weighted operator reads its weight and its bias.
WEIGHT_INPUT = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
}
_IDENTIFIER = b"TFL3"
_MOST_BYTES = 2**31 - 1  # of a flatbuffer
_MOST_SHARED = 4
_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@final
@dataclass(frozen=True, kw_only=True)
class FlatTensor:
    """One tensor of a file.

    Args:
        index: Its place in the list of tensors.
        name: As the file has it.
        shape: In TFLite's layout, channels last.
        dtype: For example ``int8``.
        scales: One, or one for each channel; none for a tensor that is not quantised.
        zero_points: As many.
        axis: Channel axis of the scales, where there are several.
        values: What the file stores for it; ``None`` for an activation.
        dynamic: A size is known at run time only.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    values: Array | None
    dynamic: bool = False

    @property
    def bytes(self) -> int:
        """Bytes that the file stores for it."""
        return 0 if self.values is None else int(self.values.nbytes)


@final
@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator: its TFLite name, and the tensors it reads and writes, by index.

    An optional input that is left out has the index -1.

    Args:
        name: For example ``CONV_2D``.
        inputs: Indices of tensors.
        outputs: Likewise.
        options: Its numbers by the schema's names, for example ``strideH``.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Option] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class FlatModel:
    """The main graph of a file, in the order of execution.

    Args:
        tensors: All of them; everything else names them by index.
        operators: What is computed.
        inputs: What the graph takes, in its own order.
        outputs: What it returns, likewise.
        signature: Indices of inputs and outputs by the names that the network has for them.
    """

    tensors: tuple[FlatTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signature: Mapping[str, int] = field(default_factory=dict)

    def producer(self, tensor: int) -> Operator | None:
        """The operator that writes a tensor; ``None`` for inputs and constants."""
        return next((op for op in self.operators if tensor in op.outputs), None)


def schema() -> Any:  # noqa: ANN401 - a generated module
    """The module that LiteRT generated from TFLite's schema.

    Raises:
        MissingDependencyError: ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingDependencyError(
            "reading and running TFLite files needs the package ai-edge-litert; "
            "type: pip install 'torchedge[tflite]'"
        ) from error
    return schema_py_generated


def read_model(path: "Path") -> FlatModel:
    """Parse a .tflite file.

    Raises:
        ArtifactError: It is cut short or no TFLite file.
        MissingDependencyError: ai-edge-litert is not installed.
    """
    try:
        return parse(read_bounded(path, _MOST_BYTES))
    except ArtifactError as error:
        raise ArtifactError(f"'{path}': {error}") from error


def parse(data: bytes) -> FlatModel:
    """Read the main graph out of a file's bytes.

    Raises:
        ArtifactError: These are no bytes of a TFLite file, or some are missing.
        MissingDependencyError: ai-edge-litert is not installed.

    Example:
        >>> parse(b"no model at all")
        Traceback (most recent call last):
        torchedge.errors.ArtifactError: 15 bytes that are no intact TFLite file; export it again.
    """
    damaged = f"{len(data):,} bytes that are no intact TFLite file; export it again."
    if data[4:8] != _IDENTIFIER:
        raise ArtifactError(damaged)
    generated = schema()
    try:
        require_structure(data)
        plain = generated.ModelT.InitFromPackedBuf(bytearray(data), 0)
        (graph,) = plain.subgraphs
        _require_shared_little(graph.tensors, plain.buffers, len(data))
        names = [_operator_name(code, generated) for code in plain.operatorCodes]
        return FlatModel(
            tensors=tuple(_tensor(i, t, plain, generated) for i, t in enumerate(graph.tensors)),
            operators=tuple(_operator(o, names, len(graph.tensors)) for o in graph.operators),
            inputs=_indices(graph.inputs, len(graph.tensors), least=0),
            outputs=_indices(graph.outputs, len(graph.tensors), least=0),
            signature=_signature(plain.signatureDefs, len(graph.tensors)),
        )
    except Exception as error:  # offsets that lead anywhere raise anything
        raise ArtifactError(damaged) from error


def _require_shared_little(tensors: Any, buffers: Any, size: int) -> None:  # noqa: ANN401
    """Each tensor's values are copied, though many may name one buffer."""
    stored = [buffers[tensor.buffer].data for tensor in tensors]
    total = sum(0 if values is None else len(values) for values in stored)
    if total > _MOST_SHARED * size:
        raise ValueError(f"{total:,} bytes of values in a file of {size:,}")


def _operator(plain: Any, names: list[str], count: int) -> Operator:  # noqa: ANN401
    if plain.outputs is None or len(plain.outputs) == 0:
        raise ValueError("an operator writes nothing")
    options = {} if plain.builtinOptions is None else vars(plain.builtinOptions)
    return Operator(
        name=names[plain.opcodeIndex],
        inputs=_indices(plain.inputs, count),
        outputs=_indices(plain.outputs, count),
        options={n: v for n, v in options.items() if isinstance(v, int | float | bool)},
    )


def _signature(definitions: Any, count: int) -> dict[str, int]:  # noqa: ANN401
    if not definitions:
        return {}
    maps = [*(definitions[0].inputs or ()), *(definitions[0].outputs or ())]
    _indices([entry.tensorIndex for entry in maps], count, least=0)
    return {entry.name.decode(): int(entry.tensorIndex) for entry in maps}


def _indices(values: Any, count: int, *, least: int = -1) -> tuple[int, ...]:  # noqa: ANN401
    """Places in the list of tensors; -1 is an input that is left out."""
    found = _whole(values)
    if any(not least <= index < count for index in found):
        raise ValueError(f"tensors {list(found)[:8]} of {count:,}")
    return found


def _whole(values: Any) -> tuple[int, ...]:  # noqa: ANN401
    return () if values is None else tuple(int(value) for value in values)


def _operator_name(code: Any, generated: Any) -> str:  # noqa: ANN401
    """Old files keep the number in one byte, newer ones in four; the larger one counts."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == generated.BuiltinOperator.CUSTOM:
        return str(code.customCode.decode())
    return _name_of(number, generated.BuiltinOperator)


def _name_of(number: int, enumeration: Any) -> str:  # noqa: ANN401
    return next(str(name) for name, value in vars(enumeration).items() if value == number)


def _tensor(index: int, plain: Any, model: Any, generated: Any) -> FlatTensor:  # noqa: ANN401
    kind = _name_of(plain.type, generated.TensorType)
    dtype = _DTYPES.get(kind, kind.lower())
    numbers = plain.quantization
    scales = () if numbers is None or numbers.scale is None else numbers.scale
    zero_points = () if numbers is None or numbers.zeroPoint is None else numbers.zeroPoint
    shape = _whole(plain.shape)
    return FlatTensor(
        index=index,
        name=plain.name.decode(),
        shape=shape,
        dtype=dtype,
        scales=tuple(float(scale) for scale in scales),
        zero_points=_whole(zero_points),
        axis=0 if numbers is None else int(numbers.quantizedDimension),
        values=_values(model.buffers[plain.buffer].data, shape, dtype),
        dynamic=any(size < 0 for size in (*shape, *_whole(plain.shapeSignature))),
    )


def _values(stored: Any, shape: tuple[int, ...], dtype: str) -> Array | None:  # noqa: ANN401
    if stored is None or len(stored) == 0 or dtype not in _DTYPES.values():
        return None
    return np.frombuffer(bytes(bytearray(stored)), dtype=dtype).reshape(shape)
