"""What a graph with Q/DQ means: operations whose operands and results may be on grids."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, final

import numpy as np
import onnx

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_onnx.graph import constants, producers, tensor_shapes
from torchedge_tflite.qdq_reader import Grid

__all__ = ["MOVES", "Constant", "Network", "Operand", "Operation", "Value", "network_of"]

# Operations that hand on numbers of their first operand, so that its grid stays.
MOVES = frozenset(
    {
        *("DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherND", "Identity"),
        *("MaxPool", "ReduceMax", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze"),
        *("Tile", "Transpose", "Unsqueeze"),
    }
)
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor that is computed, as one reader sees it.

    Args:
        name: Of the tensor as its operation returns it, before any rounding.
        shape: Channels first.
        grids: What it is rounded to on the way to the reader, in order; empty: as it is.
        dtype: Of numbers that no grid holds.
    """

    name: str
    shape: tuple[int, ...]
    grids: tuple[Grid, ...] = ()
    dtype: str = "float32"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """Numbers that the file stores.

    Args:
        name: Of the tensor.
        values: What they mean, as floats, or the whole numbers of sizes and axes.
        integers: What stands for them; ``None`` for numbers that are not on a grid.
        scales: One, or one for each channel along ``axis``.
        zero_points: As many.
        axis: Of the scales.
    """

    name: str
    values: Array
    integers: Array | None = None
    scales: Array = field(default_factory=lambda: np.ones(1, np.float32))
    zero_points: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    axis: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels first, like every shape here."""
        return tuple(self.values.shape)


Operand: TypeAlias = Value | Constant


@final
@dataclass(frozen=True, kw_only=True)
class Operation:
    """One node of the graph.

    Args:
        kind: Its ONNX name.
        name: Its own.
        operands: What it reads; ``None`` where an optional one is left out.
        results: Names and shapes of what it returns.
        attributes: By ONNX's names.
    """

    kind: str
    name: str
    operands: tuple[Operand | None, ...]
    results: tuple[Value, ...]
    attributes: Mapping[str, object]


@final
@dataclass(frozen=True, kw_only=True)
class Network:
    """All operations in order, and both ends.

    Args:
        inputs: As they are given.
        operations: Without quantisers.
        outputs: By name, what is returned under it.
    """

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: Mapping[str, Value]


def network_of(model: onnx.ModelProto) -> Network:
    """Read a graph.

    Args:
        model: With static shapes, with or without Q/DQ.

    Raises:
        ExportError: An activation is quantised with more than one scale, a shape is not known, or
            an output is a constant.
    """
    reader = _Reader(model)
    operations = tuple(
        reader.operation(node)
        for node in model.graph.node
        if node.op_type not in {_QUANTIZE, _DEQUANTIZE, "Constant"} and not reader.folds(node)
    )
    return Network(
        inputs=tuple(_port(reader, info) for info in model.graph.input),
        operations=operations,
        outputs={info.name: reader.value(info.name) for info in model.graph.output},
    )


def _port(reader: "_Reader", info: onnx.ValueInfoProto) -> Value:
    if not info.type.HasField("tensor_type"):
        raise ExportError(f"the input '{info.name}' is no tensor.")
    kind = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    return replace(reader.value(info.name), dtype=str(kind))


@final
class _Reader:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.values = constants(model)
        self.made_by = producers(model)
        self.shapes = tensor_shapes(model)

    def folds(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes constants of constants; they are kept as such."""
        read = {name: self._constant(name) for name in node.input if name}
        given = {name: constant.values for name, constant in read.items() if constant is not None}
        if len(given) < len(read):
            return False
        try:
            found = _evaluated(node, given)
        except Exception:  # whatever ONNX cannot evaluate stays, and is refused by its name
            return False
        self.values.update(zip(node.output, found, strict=True))
        return True

    def operation(self, node: onnx.NodeProto) -> Operation:
        return Operation(
            kind=node.op_type,
            name=node.name,
            operands=tuple(self.operand(name) if name else None for name in node.input),
            results=tuple(
                Value(name=name, shape=self._shape(name)) for name in node.output if name
            ),
            attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )

    def operand(self, name: str) -> Operand:
        return self._constant(name) or self.value(name)

    def value(self, name: str) -> Value:
        """Through quantisers, back to what an operation returned."""
        grids = []
        for node in self._quantizers_before(name):
            name = node.input[0]
            if node.op_type == _QUANTIZE:
                grids.append(self._grid(node))
        if name in self.values:
            raise ExportError(f"'{name}' is a constant where the network should compute something.")
        return Value(name=name, shape=self._shape(name), grids=tuple(reversed(grids)))

    def _quantizers_before(self, name: str) -> Iterator[onnx.NodeProto]:
        node = self.made_by.get(name)
        while node is not None and node.op_type in {_QUANTIZE, _DEQUANTIZE}:
            yield node
            node = self.made_by.get(node.input[0])

    def _grid(self, node: onnx.NodeProto) -> Grid:
        numbers = [self.values.get(name) for name in node.input[1:3]]
        if len(numbers) < 2 or numbers[0] is None or numbers[1] is None:
            raise ExportError(f"'{node.name}' quantises by numbers that are computed or missing.")
        scale, zero_point = numbers[0], numbers[1]
        if zero_point.dtype != np.int8:
            raise ExportError(
                f"'{node.name}' quantises to {zero_point.dtype}; TFLite's activations are int8."
            )
        if scale.size != 1:
            raise ExportError(
                f"'{node.name}' quantises an activation with {scale.size} scales; TFLite knows one "
                "for each activation. Use a scheme whose activations have no axis."
            )
        return Grid(scale=float(scale.item()), zero_point=int(zero_point.item()))

    def _constant(self, name: str) -> Constant | None:
        if name in self.values:
            return Constant(name=name, values=self.values[name])
        chain = list(self._quantizers_before(name))
        if not chain or chain[-1].input[0] not in self.values:
            return None
        return _on_grid(name, chain[0], self.values, self.values[chain[-1].input[0]])

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise ExportError(f"the shape of '{name}' is not known; export fixed sizes.")
        if 0 in self.shapes[name]:
            raise ExportError(f"'{name}' has the shape {list(self.shapes[name])}, which is empty.")
        return self.shapes[name]


def _evaluated(node: onnx.NodeProto, given: Mapping[str, Array]) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    single = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in given],
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in node.output],
    )
    model = onnx.helper.make_model(single, opset_imports=[onnx.helper.make_opsetid("", 18)])
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, dict(given))]


def _on_grid(
    name: str, dequantizer: onnx.NodeProto, values: Mapping[str, Array], stored: Array
) -> Constant:
    """A constant behind a ``DequantizeLinear``, perhaps with the ``QuantizeLinear`` before it."""
    scales = np.asarray(values[dequantizer.input[1]], np.float32).ravel()
    zeros = np.zeros(len(scales), np.int64)
    if len(dequantizer.input) > 2:
        zeros = values[dequantizer.input[2]].astype(np.int64).ravel()
    axis = next((int(a.i) for a in dequantizer.attribute if a.name == "axis"), 1)
    along = [-1 if index == axis % max(stored.ndim, 1) else 1 for index in range(stored.ndim)]
    scale, zero = scales.reshape(along or ()), zeros.reshape(along or ())
    if len(scales) == 1:
        scale, zero = scales[0], zeros[0]
    if stored.dtype.kind == "f":
        stored = np.clip(np.rint(stored / scale) + zero, -128, 127).astype(np.int8)
    return Constant(
        name=name,
        values=((stored.astype(np.int64) - zero) * scale).astype(np.float32),
        integers=stored,
        scales=scales,
        zero_points=zeros,
        axis=axis % max(stored.ndim, 1) if len(scales) > 1 else 0,
    )
