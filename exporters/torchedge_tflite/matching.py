"""Which number of training belongs to which tensor of a .tflite file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import VerificationError
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, Operator
from torchedge_tflite.trained import Grid, Layer, TrainedNumbers

__all__ = ["WEIGHT_INPUT", "Expected", "expected_numbers", "require_trained"]

# Where a weighted operator reads its weight and its bias.
WEIGHT_INPUT = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
}
_CHANNELS_LAST = frozenset({"DEPTHWISE_CONV_2D"})  # the others have output channels first
_NEAR = 2e-6  # a scale that went through TensorFlow's arithmetic, relative to what it was


@final
@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one tensor of the file must hold.

    Args:
        tensor: Its index.
        origin: What it is in the ONNX file.
        scales: float32.
        zero_points: As many.
        values: Its integers in the tensor's own shape; ``None`` for an activation.
    """

    tensor: int
    origin: str
    scales: Array
    zero_points: Array
    values: Array | None = None


def expected_numbers(
    flat: FlatModel, trained: TrainedNumbers, told: Mapping[str, Grid]
) -> tuple[Expected, ...]:
    """Assign the trained numbers to the tensors of what the converter wrote.

    Args:
        flat: The converter's file.
        trained: The numbers of training.
        told: The grids that the converter was given, by the same names.

    Raises:
        VerificationError: A tensor belongs to no trained number, or a number to no tensor.
    """
    found = [*_activations(flat, trained, told), *_layers(flat, trained.layers)]
    by_tensor: dict[int, Expected] = {}
    for item in found:
        other = by_tensor.setdefault(item.tensor, item)
        if not _same(other, item):
            raise VerificationError(
                f"'{other.origin}' and '{item.origin}' share a tensor in the .tflite file but were "
                "trained to other numbers; please report the model."
            )
    return tuple(by_tensor.values())


def _same(a: Expected, b: Expected) -> bool:
    both = a.values is not None and b.values is not None
    values = not both or np.array_equal(a.values, b.values)  # type: ignore[arg-type]
    return values and np.array_equal(a.scales, b.scales)


def _activations(
    flat: FlatModel, trained: TrainedNumbers, told: Mapping[str, Grid]
) -> Iterator[Expected]:
    names = {told[name]: name for name in trained.activations}
    used = set()
    for tensor in flat.tensors:
        if tensor.values is not None or not tensor.scales:
            continue
        grid = _nearest(tensor, names)
        used.add(grid)
        name = names[grid]
        yield Expected(
            tensor=tensor.index,
            origin=name,
            scales=np.array([trained.activations[name].scale], np.float32),
            zero_points=np.array([grid.zero_point + _shift(tensor)]),
        )
    if lost := sorted(name for grid, name in names.items() if grid not in used):
        raise VerificationError(
            f"the converter lost the quantiser of {', '.join(lost)}; please report the model."
        )


def _shift(tensor: FlatTensor) -> int:
    """How far a tensor's integers lie above those of training: inputs and outputs may be uint8."""
    return 128 if tensor.dtype == "uint8" else 0


def _nearest(tensor: FlatTensor, names: Mapping[Grid, str]) -> Grid:
    scale, zero_point = tensor.scales[0], tensor.zero_points[0] - _shift(tensor)
    near = [
        grid
        for grid in names
        if grid.zero_point == zero_point and abs(grid.scale - scale) <= _NEAR * scale
    ]
    if not near:
        raise VerificationError(
            f"tensor '{tensor.name}' has scale {scale:.9g} and zero point {zero_point}, which no "
            "quantiser of training has: the converter chose them. Quantise the operation before "
            "it, or please report the model."
        )
    return min(near, key=lambda grid: abs(grid.scale - scale))


def _layers(flat: FlatModel, layers: Sequence[Layer]) -> Iterator[Expected]:
    left = list(layers)
    for operator in flat.operators:
        if operator.name not in WEIGHT_INPUT:
            continue
        weight, bias = _parameters(operator, flat)
        if weight.values is None:
            continue
        if not weight.scales:
            raise VerificationError(
                f"the converter left the weight '{weight.name}' {weight.shape} in float; use a "
                "convolution, or a linear layer that reads a row for each sample, in its place."
            )
        axis = len(weight.shape) - 1 if operator.name in _CHANNELS_LAST else 0
        layer = _layer_of(weight, axis, bias, left)
        left = [other for other in left if other is not layer]
        yield _weight_of(layer, weight, axis)
        yield from _bias_of(layer, operator, bias)
    if left:
        raise VerificationError(
            f"the .tflite file has no operator for {', '.join(layer.name for layer in left)}; "
            "please report the model."
        )


def _parameters(operator: Operator, flat: FlatModel) -> tuple[FlatTensor, FlatTensor | None]:
    weight_place, bias_place = WEIGHT_INPUT[operator.name]
    places = operator.inputs[bias_place : bias_place + 1]
    bias = flat.tensors[places[0]] if places and places[0] >= 0 else None
    return flat.tensors[operator.inputs[weight_place]], bias


def _layer_of(
    weight: FlatTensor, axis: int, bias: FlatTensor | None, layers: Sequence[Layer]
) -> Layer:
    """The layer whose real numbers these are, within the converter's rounding."""
    assert weight.values is not None
    rows = np.moveaxis(weight.values, axis, 0).reshape(weight.shape[axis], -1)
    scales = np.array(weight.scales).reshape(-1, 1)
    real = rows * scales
    fitting = [
        layer
        for layer in layers
        if layer.weight.shape == rows.shape
        and bool(np.all(np.abs(layer.real_weight - real) <= 0.51 * scales))
    ]
    if not fitting:
        raise VerificationError(
            f"tensor '{weight.name}' {weight.shape} holds other weights than any layer of "
            "training; please report the model."
        )
    return min(fitting, key=lambda layer: _bias_distance(layer, bias))


def _bias_distance(layer: Layer, bias: FlatTensor | None) -> float:
    if bias is None or bias.values is None:
        return float(np.abs(layer.real_bias).max())
    real = bias.values.ravel() * np.array(bias.scales)
    return float(np.abs(layer.real_bias - real).max())


def _weight_of(layer: Layer, weight: FlatTensor, axis: int) -> Expected:
    rest = [size for index, size in enumerate(weight.shape) if index != axis]
    return Expected(
        tensor=weight.index,
        origin=f"{layer.name} (weight)",
        scales=layer.scales,
        zero_points=np.zeros(len(layer.scales), np.int64),
        values=np.moveaxis(layer.weight.reshape(-1, *rest), 0, axis),
    )


def _bias_of(layer: Layer, operator: Operator, bias: FlatTensor | None) -> Iterator[Expected]:
    if layer.bias is None:
        return
    if bias is not None:
        yield Expected(
            tensor=bias.index,
            origin=f"{layer.name} (bias)",
            scales=layer.bias_scales,
            zero_points=np.zeros(len(layer.bias_scales), np.int64),
            values=layer.bias.reshape(bias.shape),
        )
    elif np.any(layer.bias):
        raise VerificationError(
            f"the converter lost the bias of '{layer.name}' ({operator.name}); please report the "
            "model."
        )


def require_trained(flat: FlatModel, expected: Sequence[Expected]) -> None:
    """Compare a file with the trained numbers: scales by float32 equality, integers exactly.

    Raises:
        VerificationError: They differ; the text names the tensor and both numbers.
    """
    for item in expected:
        tensor = flat.tensors[item.tensor]
        for what, found, wanted in _pairs(tensor, item):
            if not np.array_equal(found, wanted):
                raise VerificationError(
                    f"tensor '{tensor.name}' has {what} {_short(found)}, training has "
                    f"{_short(wanted)} for '{item.origin}'; please report the model."
                )


def _pairs(tensor: FlatTensor, item: Expected) -> Iterator[tuple[str, Array, Array]]:
    yield "scales", np.array(tensor.scales, np.float32), item.scales.astype(np.float32)
    yield "zero points", np.array(tensor.zero_points), item.zero_points
    if item.values is not None and tensor.values is not None:
        yield "integers", tensor.values, item.values


def _short(values: Array) -> str:
    shown = ", ".join(f"{value:.9g}" for value in values.ravel()[:3])
    return shown if values.size <= 3 else f"{shown}, …"
