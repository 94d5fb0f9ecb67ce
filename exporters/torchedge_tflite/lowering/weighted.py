"""Convolutions and linear layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import Order, channels_last, place_of
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.trained import Grid

__all__ = [
    "biases_of",
    "convolution",
    "linear",
    "padded",
    "picture_order",
    "whole_numbers",
    "windows",
]

_INT32 = np.iinfo(np.int32)


def whole_numbers(operation: Operation, name: str, default: Sequence[int]) -> list[int]:
    """An attribute that lists whole numbers."""
    return list(cast(Sequence[int], operation.attributes.get(name, default)))


@final
@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Sizes of a convolution or pool over two axes."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]  # before and after, for height and for width

    def options(self, padding: str) -> dict[str, object]:
        return {
            "padding": padding,
            "strideH": self.strides[0],
            "strideW": self.strides[1],
            "dilationHFactor": self.dilations[0],
            "dilationWFactor": self.dilations[1],
            "fusedActivationFunction": "NONE",
        }


def picture_order(rank: int) -> Order:
    """Channels last; a row is a picture of height 1."""
    return (0, -1, 2, 1) if rank == 3 else channels_last(rank)


def windows(operation: Operation, kernel: Sequence[int]) -> _Windows:
    """Read the attributes; a row gets a height of 1.

    Raises:
        ExportError: There are more than two axes of places.
    """
    places = len(kernel)
    if places > 2:
        raise ExportError(
            f"'{operation.name}' ({operation.kind}) works on {places} axes of places, and TFLite's "
            "integer kernels on two; use layers over one or two axes."
        )
    pads = whole_numbers(operation, "pads", [0] * 2 * places)
    strides = whole_numbers(operation, "strides", [1] * places)
    dilations = whole_numbers(operation, "dilations", [1] * places)
    row = places == 1
    return _Windows(
        kernel=cast(tuple[int, int], (1, kernel[0]) if row else tuple(kernel)),
        # TensorFlow wants one stride for both axes; along a height of 1 any will do.
        strides=cast(tuple[int, int], tuple(strides * 2 if row else strides)),
        dilations=cast(tuple[int, int], (1, dilations[0]) if row else tuple(dilations)),
        pads=(0, 0, pads[0], pads[1]) if row else (pads[0], pads[2], pads[1], pads[3]),
    )


def padded(
    store: Store, name: str, source: Stored, sizes: _Windows, *, may_be_same: bool = True
) -> tuple[int, str]:
    """A picture with its borders, written out where TensorFlow's own rule gives other ones."""
    if not any(sizes.pads):
        return source.index, "VALID"
    tensor = store.draft.tensors[source.index]
    if may_be_same and _is_same(tensor.shape[1:3], sizes):
        return source.index, "SAME"
    top, bottom, left, right = sizes.pads
    borders = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    batch, height, width, channels = tensor.shape
    shape = (batch, height + top + bottom, width + left + right, channels)
    result = store.draft.activation(f"{name}_padded", shape, source.grid)
    store.draft.operator("PAD", [source.index, store.draft.constant("pads", borders)], [result])
    return result, "VALID"


def _is_same(places: Sequence[int], sizes: _Windows) -> bool:
    """Whether these are the borders that TensorFlow calls SAME."""
    for axis, size in enumerate(places):
        stride, reach = sizes.strides[axis], (sizes.kernel[axis] - 1) * sizes.dilations[axis] + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        if sizes.pads[2 * axis : 2 * axis + 2] != (total // 2, total - total // 2):
            return False
    return True


def convolution(operation: Operation, store: Store) -> None:
    """``Conv`` over one or two axes; depthwise ones have an operator of their own."""
    source, weight = operation.operands[:2]
    result = operation.results[0]
    if not isinstance(source, Value) or not isinstance(weight, Constant):
        raise ExportError(f"the weight of '{operation.name}' is computed; TFLite wants a constant.")
    bias = operation.operands[2] if len(operation.operands) > 2 else None
    integer, grid = _integer(store, source, weight, result)
    order = picture_order(len(source.shape))
    found = (store.get if integer else store.floats)(source, order)
    sizes = windows(operation, weight.shape[2:])
    padded_index, padding = padded(store, result.name, found, sizes)
    groups = int(cast(int, operation.attributes.get("group", 1)))
    depthwise = groups == source.shape[1] and groups > 1
    options = sizes.options(padding)
    if depthwise:
        options["depthMultiplier"] = weight.shape[0] // groups
    index = _weight(
        store, weight, _filter(weight.values, depthwise), integer, 3 if depthwise else 0, depthwise
    )
    biases = biases_of(store, operation, bias, weight, found.grid if integer else None)
    out = store.put(result, order, grid if integer else None)
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    store.draft.operator(kind, [padded_index, index, biases], [out], **options)


def _integer(
    store: Store, source: Value, weight: Constant, result: Value
) -> tuple[bool, Grid | None]:
    grid = store.wanted.get(result.name)
    whole = weight.integers is not None and store.grid_of(source) is not None and grid is not None
    return whole, grid


def _filter(weight: Array, depthwise: bool) -> Array:
    """From (outputs, inputs, places) to what TFLite stores; a row gets a height of 1."""
    if weight.ndim == 3:
        weight = weight[:, :, None]
    return weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)


def _weight(
    store: Store, weight: Constant, values: Array, integer: bool, axis: int, depthwise: bool
) -> int:
    if not integer:
        return store.draft.constant(weight.name, values.astype(np.float32))
    assert weight.integers is not None
    stored = _filter(weight.integers, depthwise).astype(np.int8)
    return store.draft.constant(weight.name, stored, weight.scales, weight.zero_points, axis)


def biases_of(
    store: Store,
    operation: Operation,
    bias: object,
    weight: Constant,
    grid: Grid | None,
) -> int:
    outputs = (
        len(weight.values)
        if operation.kind in {"Gemm", "MatMul"}
        else operation.results[0].shape[1]
    )
    if bias is not None and not isinstance(bias, Constant):
        raise ExportError(f"the bias of '{operation.name}' is computed; TFLite wants a constant.")
    name = bias.name if bias is not None else f"{operation.results[0].name}_bias"
    values = np.zeros(outputs, np.float32) if bias is None else bias.values.ravel()
    if grid is None:
        return store.draft.constant(name, values.astype(np.float32))
    scales = np.float32(grid.scale) * weight.scales
    if bias is not None and bias.integers is not None and bias.integers.dtype == np.int32:
        return store.draft.constant(name, bias.integers.ravel(), np.asarray(bias.scales))
    whole = np.rint(values.astype(np.float64) / scales).clip(_INT32.min, _INT32.max)
    return store.draft.constant(name, whole.astype(np.int32), scales)


def linear(operation: Operation, store: Store, bias: Constant | None, result: Value) -> None:
    """``Gemm`` and ``MatMul`` with a constant matrix, over the last axis.

    Args:
        operation: The node.
        store: Where its operand is.
        bias: What is added to it.
        result: What it returns, after the bias.
    """
    source, weight = operation.operands[:2]
    assert isinstance(source, Value) and isinstance(weight, Constant)
    integer, grid = _integer(store, source, weight, result)
    rows = _rows(operation, weight)
    found, rows = _flat_or_last(store, source, rows, integer)
    stored = rows.values if not integer else rows.integers
    assert stored is not None
    if integer:
        index = store.draft.constant(
            weight.name, stored.astype(np.int8), weight.scales, weight.zero_points, 0
        )
    else:
        index = store.draft.constant(weight.name, stored.astype(np.float32))
    biases = biases_of(store, operation, bias, rows, found.grid if integer else None)
    order = tuple(found.order)
    out = store.put(result, order, grid if integer else None)
    store.draft.operator(
        "FULLY_CONNECTED",
        [found.index, index, biases],
        [out],
        fusedActivationFunction="NONE",
        keepNumDims=len(order) > 2,
    )


def _rows(operation: Operation, weight: Constant) -> Constant:
    """A row for each output."""
    transposed = operation.kind == "MatMul" or not operation.attributes.get("transB", 0)
    if not transposed:
        return weight
    return Constant(
        name=weight.name,
        values=weight.values.T,
        integers=None if weight.integers is None else weight.integers.T,
        scales=weight.scales,
        zero_points=weight.zero_points,
    )


def _flat_or_last(
    store: Store, source: Value, rows: Constant, integer: bool
) -> tuple[Stored, Constant]:
    """The operand with its features last, or flattened as it lies, and rows to match."""
    read = store.get if integer else store.floats
    flattened = store.flat_source(source)
    if flattened is None or len(source.shape) != 2 or flattened.shape[0] != source.shape[0]:
        return read(source, _features_last(store, source)), rows
    found = read(flattened)
    order = [axis for axis in found.order if axis > 0]
    if place_of(0, found.order) != 0 or not order:
        return read(source, _features_last(store, source)), rows
    places = np.arange(rows.shape[1]).reshape(flattened.shape[1:])
    columns = places.transpose([axis - 1 for axis in order]).ravel()
    permuted = Constant(
        name=rows.name,
        values=rows.values[:, columns],
        integers=None if rows.integers is None else rows.integers[:, columns],
        scales=rows.scales,
        zero_points=rows.zero_points,
    )
    return Stored(index=found.index, order=(0, 1), grid=found.grid), permuted


def _features_last(store: Store, source: Value) -> Order:
    order, last = store.order_of(source), len(source.shape) - 1
    rest = tuple(axis for axis in order if axis not in {-1, last})
    return (*rest, last)
