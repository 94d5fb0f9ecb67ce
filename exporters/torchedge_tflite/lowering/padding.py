"""Borders: zeros, another number, the edge again, or a reflection."""

from collections.abc import Callable, Mapping

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation
from torchedge_tflite.lowering.moves import (
    looked_up_along,
    numbers_of,
    source_of,
    stored_constant,
)
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.qdq_reader import Grid

__all__ = ["is_on_grid", "pad"]


def pad(operation: Operation, store: Store) -> None:
    """``Pad`` with zeros, with another constant, by reflection, or with the edge again.

    Raises:
        ExportError: It cuts, the constant is computed, or the mode is another one.
    """
    source = source_of(operation)
    mode = operation.attributes.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else str(mode)
    before, after = _ends(operation, len(source.shape))
    if min(*before, *after) < 0:
        raise ExportError(f"'{operation.name}' pads by negative numbers; use a slice.")
    if mode not in _PADS:
        raise ExportError(f"'{operation.name}' pads by mode '{mode}', which TFLite does not have.")
    found = store.get(source)
    pairs = [(before[a], after[a]) if a >= 0 else (0, 0) for a in found.order]
    _PADS[mode](operation, store, found, pairs)


def _ends(operation: Operation, rank: int) -> tuple[list[int], list[int]]:
    """Numbers before and behind each axis; a list of axes may say which are given."""
    numbers, axes = numbers_of(operation.operands[1]), list(range(rank))
    if len(operation.operands) > 3 and operation.operands[3] is not None:
        axes = [axis % rank for axis in numbers_of(operation.operands[3])]
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = numbers[index], numbers[index + len(axes)]
    return before, after


def _with_number(
    operation: Operation, store: Store, found: Stored, pairs: list[tuple[int, int]]
) -> None:
    result = operation.results[0]
    value = operation.operands[2] if len(operation.operands) > 2 else None
    if value is not None and not isinstance(value, Constant):
        raise ExportError(f"'{operation.name}' pads with a number that is computed.")
    filled = 0.0 if value is None else float(value.values.item())
    if not is_on_grid(filled, found.grid):
        found = store.floats(source_of(operation), found.order)
    read = [found.index, store.draft.constant("pads", np.array(pairs, np.int32))]
    if filled:
        border = Constant(name="border", values=np.full((), filled, np.float32))
        read.append(stored_constant(border, store.draft, (), found.grid))
    out = store.put(result, found.order, found.grid)
    store.draft.operator("PADV2" if filled else "PAD", read, [out])


def is_on_grid(number: float, grid: Grid | None) -> bool:
    """Whether a grid holds a number as exactly as float32 does; floats hold all.

    Example:
        >>> is_on_grid(0.5, Grid(scale=0.25, zero_point=0)), is_on_grid(40.0, None)
        (True, True)
        >>> is_on_grid(40.0, Grid(scale=0.25, zero_point=0))
        False
    """
    if grid is None:
        return True
    steps = number / grid.scale + grid.zero_point
    return -128.0 <= steps <= 127.0 and abs(steps - round(steps)) < 1e-5


def _mirrored(
    operation: Operation, store: Store, found: Stored, pairs: list[tuple[int, int]]
) -> None:
    out = store.put(operation.results[0], found.order, found.grid)
    borders = store.draft.constant("pads", np.array(pairs, np.int32))
    store.draft.operator("MIRROR_PAD", [found.index, borders], [out], mode=0)


def _with_edges(
    operation: Operation, store: Store, found: Stored, pairs: list[tuple[int, int]]
) -> None:
    shape = store.draft.tensors[found.index].shape
    wanted = {
        place: np.arange(-before, shape[place] + after).clip(0, shape[place] - 1)
        for place, (before, after) in enumerate(pairs)
        if before or after
    }
    result = operation.results[0]
    store.keep(result, looked_up_along(store, found, wanted, result))


_PADS: Mapping[str, Callable[[Operation, Store, Stored, list[tuple[int, int]]], None]] = {
    "constant": _with_number,
    "edge": _with_edges,
    "reflect": _mirrored,
}
