"""Convolutions and linear layers."""

from typing import cast

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import Order, place_of
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.lowering.windows import Windows, bordered, picture_order, windows_of
from torchedge_tflite.qdq_reader import Grid

__all__ = ["biases_of", "convolution", "linear"]

_INT32 = np.iinfo(np.int32)


def options_of(windows: Windows, padding: str) -> dict[str, object]:
    """A convolution's, by the schema's names."""
    return {
        "padding": padding,
        "strideH": windows.strides[0],
        "strideW": windows.strides[1],
        "dilationHFactor": windows.dilations[0],
        "dilationWFactor": windows.dilations[1],
        "fusedActivationFunction": "NONE",
    }


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
    sizes = windows_of(operation, weight.shape[2:])
    padded, padding = bordered(store, result.name, found, sizes)
    groups = int(cast(int, operation.attributes.get("group", 1)))
    depthwise = groups == source.shape[1] and groups > 1
    options = options_of(sizes, padding)
    if depthwise:
        options["depthMultiplier"] = weight.shape[0] // groups
    index = _weight(store, weight, integer, depthwise)
    biases = biases_of(store, operation, bias, weight, found.grid if integer else None)
    out = store.put(result, order, grid if integer else None)
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    store.draft.operator(kind, [padded, index, biases], [out], **options)


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


def _weight(store: Store, weight: Constant, integer: bool, depthwise: bool) -> int:
    if not integer or weight.integers is None:
        values = _filter(weight.values, depthwise).astype(np.float32)
        return store.draft.constant(weight.name, values)
    stored = _filter(weight.integers, depthwise).astype(np.int8)
    axis = 3 if depthwise else 0
    return store.draft.constant(weight.name, stored, weight.scales, weight.zero_points, axis)


def biases_of(
    store: Store,
    operation: Operation,
    bias: object,
    weight: Constant,
    grid: Grid | None,
) -> int:
    """The constant that a layer adds, on the grid of its sums or in floats.

    Raises:
        ExportError: It is computed, or int32 does not hold it.
    """
    outputs = (
        len(weight.values)
        if operation.kind in {"Gemm", "MatMul"}
        else operation.results[0].shape[1]
    )
    if bias is not None and not isinstance(bias, Constant):
        raise ExportError(f"the bias of '{operation.name}' is computed; TFLite wants a constant.")
    name = bias.name if bias is not None else f"{operation.results[0].name}_bias"
    values = np.zeros(outputs, np.float32) if bias is None else bias.values.ravel()
    if values.size == 1 != outputs and bias is not None and bias.integers is None:
        values = np.full(outputs, values.item(), np.float32)
    if values.size != outputs:
        raise ExportError(
            f"the bias of '{operation.name}' has the shape {list(bias.shape) if bias else []}; "
            f"TFLite adds one number to each of the {outputs} outputs."
        )
    if grid is None:
        return store.draft.constant(name, values.astype(np.float32))
    scales = np.float32(grid.scale) * weight.scales
    if bias is not None and bias.integers is not None and bias.integers.dtype == np.int32:
        return store.draft.constant(name, bias.integers.ravel(), np.asarray(bias.scales))
    whole = np.rint(values.astype(np.float64) / scales)
    if np.abs(whole).max(initial=0) > _INT32.max:
        raise ExportError(
            f"a bias of '{operation.name}' takes {np.abs(whole).max():.3g} steps of its sums, more "
            "than int32 holds, because the weights of its channel are nearly zero; remove the "
            "channel, or call prepare_qat, which widens their scale."
        )
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
    assert isinstance(source, Value)
    assert isinstance(weight, Constant)
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
