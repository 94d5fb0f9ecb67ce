"""What only moves numbers: reshapes, transposes, slices, joins. Their grid stays as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_tflite.lowering.draft import Draft
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import Order, in_order, place_of, plain, reshaped
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.qdq_reader import Grid

__all__ = [
    *("concatenation", "gather", "gather_nd", "identity", "looked_up_along", "numbers_of"),
    *("reshape", "slice_of", "source_of", "split", "stored_constant", "transpose"),
]


def identity(operation: Operation, store: Store) -> None:
    """The same tensor under another name."""
    source = source_of(operation)
    store.keep(operation.results[0], store.get(source))


def reshape(operation: Operation, store: Store) -> None:
    """``Reshape``, ``Flatten``, ``Squeeze`` and ``Unsqueeze``."""
    source, result = source_of(operation), operation.results[0]
    found = store.get(source)
    order = reshaped(source.shape, found.order, result.shape)
    if order is None or len(result.shape) == 2:
        store.put_flat(result, source)
        return
    index = store.put(result, order, found.grid)
    store.reshape(found.index, in_order(result.shape, order), index)


def transpose(operation: Operation, store: Store) -> None:
    """Nothing is written: the numbers lie as they did, and the axes have other names."""
    source, result = source_of(operation), operation.results[0]
    default = list(reversed(range(len(source.shape))))
    permutation = list(cast(Sequence[int], operation.attributes.get("perm", default)))
    found = store.get(source)
    order = tuple(axis if axis < 0 else permutation.index(axis) for axis in found.order)
    store.keep(result, Stored(index=found.index, order=order, grid=found.grid))


def concatenation(operation: Operation, store: Store) -> None:
    """``Concat``: operands come to the grid of the result, or all of them are floats."""
    result = operation.results[0]
    axis = int(cast(int, operation.attributes["axis"])) % len(result.shape)
    values = [operand for operand in operation.operands if isinstance(operand, Value)]
    order = (
        store.order_of(max(values, key=lambda v: int(np.prod(v.shape))))
        if values
        else plain(len(result.shape))
    )
    grid = _shared_grid(operation, store)
    parts = [_part(operand, store, order, grid) for operand in operation.operands]
    out = store.put(result, order, grid)
    store.draft.operator(
        "CONCATENATION",
        parts,
        [out],
        axis=place_of(axis, order),
        fusedActivationFunction="NONE",
    )


def _shared_grid(operation: Operation, store: Store) -> Grid | None:
    grids = [store.grid_of(o) for o in operation.operands if isinstance(o, Value)]
    if any(grid is None for grid in grids):
        return None
    wanted = store.wanted.get(operation.results[0].name)
    same = all(grid == grids[0] for grid in grids) and len(grids) == len(operation.operands)
    return grids[0] if same else wanted


def _part(operand: object, store: Store, order: Order, grid: Grid | None) -> int:
    if isinstance(operand, Constant):
        return stored_constant(operand, store.draft, order, grid)
    assert isinstance(operand, Value)
    if grid is None:
        return store.floats(operand, order).index
    return store.on_grid(operand, grid, order).index


def stored_constant(constant: Constant, draft: Draft, order: Order, grid: Grid | None) -> int:
    """A constant with its axes in an order, on a grid or as floats."""
    values = constant.values.transpose([axis for axis in order if axis >= 0])
    for place, axis in enumerate(order):
        if axis < 0:
            values = np.expand_dims(values, place)
    if grid is None:
        return draft.constant(constant.name, values.astype(np.float32))
    whole = np.clip(np.rint(values / np.float32(grid.scale)) + grid.zero_point, -128, 127)
    return draft.constant(
        constant.name,
        whole.astype(np.int8),
        np.array([grid.scale], np.float32),
        np.array([grid.zero_point]),
    )


def split(operation: Operation, store: Store) -> None:
    """``Split`` along one axis: a SLICE for each piece that is read."""
    source = source_of(operation)
    axis = int(cast(int, operation.attributes.get("axis", 0))) % len(source.shape)
    begin = 0
    for result in operation.results:
        size = result.shape[axis]
        if store.readers.get(result.name, 0):
            _cut(store, source, result, {axis: (begin, size)})
        begin += size


def slice_of(operation: Operation, store: Store) -> None:
    """``Slice``, with steps too."""
    source, result = source_of(operation), operation.results[0]
    starts, ends, *rest = (numbers_of(operand) for operand in operation.operands[1:])
    axes = rest[0] if rest and rest[0] else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 and rest[1] else [1] * len(starts)
    cuts, jumps = {}, {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(source.shape)
        first, last, jump = slice(start, end, step).indices(source.shape[axis])
        cuts[axis] = (first, max(len(range(first, last, jump)), 0))
        jumps[axis] = jump
    if all(jump == 1 for jump in jumps.values()):
        _cut(store, source, result, cuts)
    else:
        _stride(store, source, result, cuts, jumps)


def _cut(store: Store, source: Value, result: Value, cuts: dict[int, tuple[int, int]]) -> None:
    found = store.get(source)
    begin = [cuts.get(axis, (0, 0))[0] if axis >= 0 else 0 for axis in found.order]
    size = in_order(result.shape, found.order)
    out = store.put(result, found.order, found.grid)
    read = [
        store.draft.constant(n, np.array(v, np.int32))
        for n, v in (("begin", begin), ("size", size))
    ]
    store.draft.operator("SLICE", [found.index, *read], [out])


def _stride(
    store: Store,
    source: Value,
    result: Value,
    cuts: dict[int, tuple[int, int]],
    jumps: dict[int, int],
) -> None:
    found = store.get(source)
    begin, end, step, to_the_end = [], [], [], 0
    for place, axis in enumerate(found.order):
        first, count = cuts.get(axis, (0, source.shape[axis] if axis >= 0 else 1))
        jump = jumps.get(axis, 1)
        last = first + count * jump
        begin.append(first)
        end.append(last)
        step.append(jump)
        to_the_end |= (last < 0) << place
    out = store.put(result, found.order, found.grid)
    numbers = (("begin", begin), ("end", end), ("strides", step))
    read = [store.draft.constant(n, np.array(v, np.int32)) for n, v in numbers]
    store.draft.operator("STRIDED_SLICE", [found.index, *read], [out], endMask=to_the_end)


def gather(operation: Operation, store: Store) -> None:
    """``Gather``: of one place a slice, of several a GATHER; of a table by what is computed."""
    source, indices = operation.operands[:2]
    result = operation.results[0]
    axis = int(cast(int, operation.attributes.get("axis", 0)))
    if isinstance(source, Constant) and isinstance(indices, Value):
        _looked_up(operation, store, source, indices)
        return
    if not isinstance(source, Value) or not isinstance(indices, Constant):
        raise ExportError(f"'{operation.name}' looks up places that are computed.")
    axis %= len(source.shape)
    places = indices.values.astype(np.int64) % source.shape[axis]
    if places.ndim == 0:
        _one_place(store, source, result, axis, int(places))
        return
    shape = (*source.shape[:axis], places.size, *source.shape[axis + 1 :])
    flat = result if places.ndim == 1 else Value(name=f"{result.name}/places", shape=shape)
    found = store.get(source)
    out = store.put(flat, found.order, found.grid)
    read = store.draft.constant("places", places.ravel().astype(np.int32))
    store.draft.operator("GATHER", [found.index, read], [out], axis=place_of(axis, found.order))
    if flat is not result:
        _reshaped(store, flat, result)


def gather_nd(operation: Operation, store: Store) -> None:
    """``GatherND`` along one axis: a GATHER.

    Raises:
        ExportError: It looks up places in several axes at once.
    """
    source, indices = operation.operands[:2]
    axis = int(cast(int, operation.attributes.get("batch_dims", 0)))
    if not isinstance(indices, Constant) or indices.shape[-1] != 1 or axis:
        raise ExportError(f"'{operation.name}' looks up places in several axes at once.")
    places = replace(indices, values=indices.values[..., 0])
    gather(replace(operation, operands=(source, places), attributes={"axis": 0}), store)


def _looked_up(operation: Operation, store: Store, table: Constant, indices: Value) -> None:
    """Rows of a stored table."""
    result = operation.results[0]
    if int(cast(int, operation.attributes.get("axis", 0))) != 0:
        raise ExportError(f"'{operation.name}' looks up columns of a table; only rows can be.")
    grid = store.wanted.get(result.name)
    found = store.get(indices, plain(len(indices.shape)))
    rows = stored_constant(table, store.draft, plain(len(table.shape)), grid)
    out = store.put(result, plain(len(result.shape)), grid)
    store.draft.operator("GATHER", [rows, found.index], [out], axis=0)


def _reshaped(store: Store, source: Value, result: Value) -> None:
    found = store.get(source)
    order = reshaped(source.shape, found.order, result.shape)
    if order is None:
        found, order = store.get(source, plain(len(source.shape))), plain(len(result.shape))
    index = store.put(result, order, found.grid)
    store.reshape(found.index, in_order(result.shape, order), index)


def _one_place(store: Store, source: Value, result: Value, axis: int, place: int) -> None:
    shape = tuple(1 if a == axis else size for a, size in enumerate(source.shape))
    piece = Value(name=f"{result.name}_piece", shape=shape)
    _cut(store, source, piece, {axis: (place, 1)})
    _reshaped(store, piece, result)


def looked_up_along(
    store: Store, found: Stored, wanted: Mapping[int, Array], result: Value
) -> Stored:
    """A tensor whose axes, as the file has them, are looked up one after the other."""
    index, shape = found.index, list(store.draft.tensors[found.index].shape)
    for axis, places in wanted.items():
        shape[axis] = len(places)
        made = store.draft.activation(f"{result.name}/along{axis}", shape, found.grid)
        read = store.draft.constant("places", places.astype(np.int32))
        store.draft.operator("GATHER", [index, read], [made], axis=axis)
        index = made
    return Stored(index=index, order=found.order, grid=found.grid)


def source_of(operation: Operation) -> Value:
    """What an operation moves.

    Raises:
        ExportError: It is a constant.
    """
    source = operation.operands[0]
    if not isinstance(source, Value):
        raise ExportError(f"'{operation.name}' ({operation.kind}) reads a constant.")
    return source


def numbers_of(operand: object) -> list[int]:
    """Sizes or places; none where they are left out.

    Raises:
        ExportError: They are computed.
    """
    if operand is None:
        return []
    if not isinstance(operand, Constant):
        raise ExportError("a size or place is computed; TFLite files here have fixed ones.")
    return [int(value) for value in operand.values.ravel()]
