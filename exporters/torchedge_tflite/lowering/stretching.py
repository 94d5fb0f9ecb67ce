"""Axes of size 1 stretched, and tensors repeated: their grid stays as it is."""

import numpy as np

from torchedge_tflite.lowering.meaning import Operation, Value
from torchedge_tflite.lowering.moves import numbers_of, source_of
from torchedge_tflite.lowering.orders import Order, in_order, plain
from torchedge_tflite.lowering.store import Store, Stored

__all__ = ["expand", "tile"]


def expand(operation: Operation, store: Store) -> None:
    """``Expand``: nothing is written where the shape stays."""
    source, result = source_of(operation), operation.results[0]
    found = _with_all_axes(store, source, result)
    wanted = in_order(result.shape, found.order)
    if store.draft.tensors[found.index].shape == wanted:
        store.keep(result, found)
        return
    shape = store.draft.constant("shape", np.array(wanted, np.int32))
    out = store.put(result, found.order, found.grid)
    store.draft.operator("BROADCAST_TO", [found.index, shape], [out])


def tile(operation: Operation, store: Store) -> None:
    """``Tile``, by numbers that the file stores."""
    source, result = source_of(operation), operation.results[0]
    times = numbers_of(operation.operands[1])
    found = store.get(source)
    counts = [1 if axis < 0 else times[axis] for axis in found.order]
    read = store.draft.constant("multiples", np.array(counts, np.int32))
    out = store.put(result, found.order, found.grid)
    store.draft.operator("TILE", [found.index, read], [out])


def _with_all_axes(store: Store, source: Value, result: Value) -> Stored:
    """The source with as many axes as the result; those that are missing come first."""
    missing = len(result.shape) - len(source.shape)
    if missing == 0:
        return store.get(source)
    found = store.get(source, plain(len(source.shape)))
    shape = (*(1 for _ in range(missing)), *source.shape)
    order: Order = plain(len(shape))
    index = store.draft.activation(f"{result.name}_wide", shape, found.grid)
    store.reshape(found.index, shape, index)
    return Stored(index=index, order=order, grid=found.grid)
