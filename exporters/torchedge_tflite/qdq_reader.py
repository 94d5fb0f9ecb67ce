"""The numbers of training as an ONNX file with Q/DQ has them, in an order TFLite shares."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import onnx

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_onnx.graph import (
    WEIGHTED_OPERATIONS,
    attribute,
    constants,
    producers,
)

__all__ = ["Grid", "Layer", "TrainedNumbers", "read_trained"]


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """Scale and zero point of an activation.

    Args:
        scale: A float32 number.
        zero_point: From -128 to 127.
    """

    scale: float
    zero_point: int


@final
@dataclass(frozen=True, kw_only=True)
class Layer:
    """The integers of one weighted operation.

    Args:
        name: Of its ONNX node.
        weight: int8, one row for each output channel; a row has the kernel's positions first, then
            the input channels, as TFLite stores them.
        scales: One, or one for each row.
        bias: int32, one for each row, or ``None``.
        bias_scales: One, or one for each row.
    """

    name: str
    weight: Array
    scales: Array
    bias: Array | None
    bias_scales: Array

    @property
    def real_weight(self) -> Array:
        """What the integers of the weight mean."""
        return np.asarray(self.weight.astype(np.float64) * self.scales.reshape(-1, 1))

    @property
    def real_bias(self) -> Array:
        """What the integers of the bias mean; zeros without a bias."""
        if self.bias is None:
            return np.zeros(len(self.weight))
        return np.asarray(self.bias.astype(np.float64) * self.bias_scales)


@final
@dataclass(frozen=True, kw_only=True)
class TrainedNumbers:
    """All of a network.

    Args:
        activations: Grid of each quantised activation, by the tensor's name in the ONNX file.
        layers: The weighted operations in the order of execution.
    """

    activations: Mapping[str, Grid]
    layers: tuple[Layer, ...]


def read_trained(model: onnx.ModelProto) -> TrainedNumbers:
    """Collect the scales, zero points and integers of a graph with Q/DQ.

    Raises:
        ExportError: A quantiser of an activation has more than one scale.
    """
    values = constants(model)
    activations = {
        node.output[0]: _grid(node, values)
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in values
    }
    return TrainedNumbers(activations=activations, layers=tuple(_layers(model, values)))


def _grid(node: onnx.NodeProto, values: Mapping[str, Array]) -> Grid:
    scale, zero_point = values[node.input[1]], values[node.input[2]]
    if scale.size != 1:
        raise ExportError(
            f"'{node.name}' quantises an activation with {scale.size} scales; TFLite knows one for "
            "each activation. Use a scheme whose activations have no axis."
        )
    return Grid(scale=float(scale.item()), zero_point=int(zero_point.item()))


def _layers(model: onnx.ModelProto, values: Mapping[str, Array]) -> Iterator[Layer]:
    made_by = producers(model)
    for node in model.graph.node:
        source = made_by.get(node.input[1]) if node.op_type in WEIGHTED_OPERATIONS else None
        if source is None or source.input[0] not in values:
            continue
        bias = _bias_of(node, model, made_by, values)
        weight = _in_rows(node, values[source.input[0]])
        yield Layer(
            name=node.name,
            weight=weight,
            scales=values[source.input[1]].ravel(),
            bias=None if bias is None else values[bias.input[0]].ravel(),
            bias_scales=np.ones(1) if bias is None else values[bias.input[1]].ravel(),
        )


def _in_rows(node: onnx.NodeProto, weight: Array) -> Array:
    """A weight as a matrix of output channels by (kernel positions, input channels)."""
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
        weight = weight.T
    elif node.op_type == "ConvTranspose":
        weight = weight.swapaxes(0, 1)
    return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)


def _bias_of(
    node: onnx.NodeProto,
    model: onnx.ModelProto,
    made_by: Mapping[str, onnx.NodeProto],
    values: Mapping[str, Array],
) -> onnx.NodeProto | None:
    """The ``DequantizeLinear`` of a bias: an input of the node, or added right behind it."""
    names = [*node.input[2:]]
    if node.op_type == "MatMul":
        readers = [other for other in model.graph.node if node.output[0] in other.input]
        names += [name for r in readers if r.op_type == "Add" for name in r.input]
    for name in names:
        source = made_by.get(name)
        if source is not None and source.input[0] in values:
            return source
    return None
