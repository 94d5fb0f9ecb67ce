"""A factor and an offset for each channel: a depthwise convolution of one place."""

from typing import cast

import numpy as np

from torchedge.bench.session import Array
from torchedge.quantization.lines import integer_lines
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import Order, in_order
from torchedge_tflite.lowering.store import Store

__all__ = ["affine"]


def affine(operation: Operation, store: Store) -> None:
    """``x · factor + offset``, rounded once; in floats a product and a sum."""
    source, factor, offset = operation.operands
    result = operation.results[0]
    assert isinstance(source, Value)
    assert isinstance(factor, Constant)
    assert isinstance(offset, Constant)
    grid, own = store.wanted.get(result.name), store.grid_of(source)
    axis = int(cast(int, operation.attributes["axis"]))
    rest = tuple(a for a in store.order_of(source) if a not in {-1, axis})
    order = (*rest, axis)
    factors, offsets = factor.values.astype(np.float64), offset.values.astype(np.float64)
    if grid is None or own is None:
        _in_floats(store, source, result, order, (factors, offsets))
        return
    found = store.get(source, order)
    channels = source.shape[axis]
    weights, scales, whole = integer_lines(factors, offsets, own.scale)
    grids = np.float32(own.scale) * scales
    weights = weights.reshape(1, 1, 1, channels)
    picture = (1, 1, int(np.prod(source.shape)) // channels, channels)
    wide = store.draft.activation(f"{result.name}_places", picture, own)
    store.reshape(found.index, picture, wide)
    made = store.draft.activation(f"{result.name}_line", picture, grid)
    stored = [
        store.draft.constant(factor.name, weights, scales, axis=3),
        store.draft.constant(offset.name, whole, grids),
    ]
    store.draft.operator(
        "DEPTHWISE_CONV_2D",
        [wide, *stored],
        [made],
        padding="VALID",
        strideH=1,
        strideW=1,
        dilationHFactor=1,
        dilationWFactor=1,
        depthMultiplier=1,
        fusedActivationFunction="NONE",
    )
    out = store.put(result, order, grid)
    store.reshape(made, in_order(result.shape, order), out)


def _in_floats(
    store: Store, source: Value, result: Value, order: Order, lines: tuple[Array, Array]
) -> None:
    found = store.floats(source, order)
    product = store.draft.activation(f"{result.name}_product", in_order(result.shape, order), None)
    numbers = [
        store.draft.constant(f"{result.name}_{name}", values.astype(np.float32))
        for name, values in zip(("factor", "offset"), lines, strict=True)
    ]
    store.draft.operator(
        "MUL", [found.index, numbers[0]], [product], fusedActivationFunction="NONE"
    )
    out = store.put(result, order, None)
    store.draft.operator("ADD", [product, numbers[1]], [out], fusedActivationFunction="NONE")
