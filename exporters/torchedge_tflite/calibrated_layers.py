"""Weights and biases of a float ONNX graph become integers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import onnx
import torch
from torch import Tensor

from torchedge.bench.session import Array
from torchedge.quantization.functional import quantize, weight_params
from torchedge.quantization.scales import widened_for_bias
from torchedge.scheme import QuantScheme, QuantSpec
from torchedge_onnx.graph import add_constant, copied, producers
from torchedge_tflite.lowering.meaning import Constant, Network, Operation, Value
from torchedge_tflite.places import is_weighted

__all__ = ["FloatLayer", "float_layers", "with_integers", "with_rounded_weights"]

_Slot: TypeAlias = tuple[str, int]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer:
    """A layer with weights, as the float graph has it.

    Args:
        source: The activation that it reads.
        weight: One row for each output, from ``rows``.
        axis: Of the outputs, in the graph.
        weight_slot: First result of the node that reads the weight, and which input it is.
        bias: One number for each output, or ``None``.
        bias_slot: Likewise, where there is a bias.
        spec: Of the weight's grid.
    """

    source: str
    weight: Tensor
    axis: int
    weight_slot: _Slot
    bias: Tensor | None
    bias_slot: _Slot | None
    spec: QuantSpec

    def scale(self, input_scale: float | None = None) -> Tensor:
        """Of the weights; wide enough for the bias where the input's is known."""
        scale, _ = weight_params(self.weight, self.spec)
        if self.bias is None or input_scale is None:
            return scale
        return widened_for_bias(scale, self.bias, torch.tensor(input_scale))

    def integers(self, scale: Tensor) -> Array:
        """Of the weights, with the axes as the graph has them."""
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        rows = quantize(self.weight, scale, zeros, self.spec).numpy().astype(np.int8)
        return np.moveaxis(rows, 0, self.axis)


def float_layers(
    model: onnx.ModelProto, network: Network, scheme: QuantScheme
) -> tuple[FloatLayer, ...]:
    """The layers with weights, in order.

    Args:
        model: The graph that the network was read from.
        network: With sums behind products of matrices as their biases.
        scheme: The grids of weights.
    """
    made_by = producers(model)
    return tuple(
        _layer(operation, made_by, scheme)
        for operation in network.operations
        if is_weighted(operation)
    )


def _layer(
    operation: Operation, made_by: Mapping[str, onnx.NodeProto], scheme: QuantScheme
) -> FloatLayer:
    source, weight, *rest = operation.operands
    assert isinstance(source, Value)
    assert isinstance(weight, Constant)
    end = made_by[operation.results[0].name]
    node = end if weight.name in end.input else _product_before(end, weight.name, made_by)
    axis = _output_axis(operation, weight)
    rows = torch.from_numpy(np.moveaxis(weight.values, axis, 0).astype(np.float32))
    spec = scheme.weight if "Conv" in operation.kind else scheme.linear_weight or scheme.weight
    bias = rest[0] if rest and isinstance(rest[0], Constant) else None
    slot = None if bias is None else (end.output[0], list(end.input).index(bias.name))
    outputs = operation.results[0].shape[1 if "Conv" in operation.kind else -1]
    return FloatLayer(
        source=source.name,
        weight=rows,
        axis=axis,
        weight_slot=(node.output[0], list(node.input).index(weight.name)),
        bias=None if bias is None else _one_each(bias.values, outputs),
        bias_slot=slot,
        spec=spec,
    )


def _product_before(
    end: onnx.NodeProto, weight: str, made_by: Mapping[str, onnx.NodeProto]
) -> onnx.NodeProto:
    """The product of matrices whose bias ``end`` adds."""
    candidates = [made_by[name] for name in end.input if name in made_by]
    return next(node for node in candidates if weight in node.input)


def _output_axis(operation: Operation, weight: Constant) -> int:
    if operation.kind == "Gemm":
        return 0 if operation.attributes.get("transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": len(weight.shape) - 1}[operation.kind]


def _one_each(bias: Array, outputs: int) -> Tensor:
    """ONNX stretches a bias of one number over all outputs."""
    values = np.asarray(bias, np.float32).ravel()
    return torch.from_numpy(np.full(outputs, values.item()) if values.size == 1 else values.copy())


def with_rounded_weights(
    model: onnx.ModelProto, layers: tuple[FloatLayer, ...], mark: str
) -> onnx.ModelProto:
    """A copy that computes in floats, with the weights that the integers mean.

    Args:
        model: The float graph.
        layers: Its layers with weights.
        mark: What no name of the graph holds; new names hold it.
    """
    copy = copied(model)
    made_by = producers(copy)
    for layer in layers:
        scale = layer.scale()
        along = scale.view(-1, *[1] * (layer.weight.ndim - 1)) if scale.ndim else scale
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        real = quantize(layer.weight, scale, zeros, layer.spec) * along
        node, index = layer.weight_slot
        name = f"{node}{mark}.rounded"
        made_by[node].input[index] = name
        add_constant(copy, name, np.moveaxis(real.numpy().astype(np.float32), 0, layer.axis))
    return copy


def with_integers(
    model: onnx.ModelProto,
    layers: tuple[FloatLayer, ...],
    input_scales: Mapping[str, float],
    mark: str,
) -> onnx.ModelProto:
    """A copy with int8 weights and int32 biases behind ``DequantizeLinear``.

    Args:
        model: The float graph.
        layers: Its layers with weights.
        input_scales: Scale of each activation that one reads, by its name.
        mark: What no name of the graph holds; new names hold it.
    """
    copy = copied(model)
    made: dict[str, list[onnx.NodeProto]] = {}
    made_by = producers(copy)
    for layer in layers:
        for (node, index), part, integers, scales, axis in _constants(layer, input_scales):
            name = f"{node}{mark}.{part}"
            made_by[node].input[index] = name
            made.setdefault(node, []).append(_on_grid(copy, name, integers, scales, axis))
    nodes = [new for node in copy.graph.node for new in (*made.get(node.output[0], ()), node)]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _constants(
    layer: FloatLayer, input_scales: Mapping[str, float]
) -> Iterator[tuple[_Slot, str, Array, Array, int]]:
    """Where a constant goes, what it is, its integers, scales, and their axis."""
    input_scale = input_scales[layer.source]
    scale = layer.scale(input_scale)
    scales = scale.numpy().astype(np.float32)
    yield layer.weight_slot, "weight", layer.integers(scale), scales, layer.axis
    if layer.bias is None or layer.bias_slot is None:
        return
    steps = np.asarray(np.float32(input_scale) * scales, np.float32)
    each = np.tile(steps, len(layer.bias) // steps.size) if steps.ndim else steps
    whole = np.rint(layer.bias.numpy().astype(np.float64) / each).astype(np.int32)
    yield layer.bias_slot, "bias", whole, each, 0


def _on_grid(
    model: onnx.ModelProto, name: str, integers: Array, scales: Array, axis: int
) -> onnx.NodeProto:
    """The ``DequantizeLinear`` that makes ``name`` of new constants."""
    zeros = np.zeros(scales.shape, integers.dtype)
    parts = (("integers", integers), ("scale", scales), ("zero_point", zeros))
    for part, array in parts:
        add_constant(model, f"{name}.{part}", array)
    inputs = [f"{name}.{part}" for part, _ in parts]
    return onnx.helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}.dq", axis=axis)
