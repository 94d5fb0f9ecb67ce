"""Averages, largest values and softmax, and places that become channels."""

from collections.abc import Callable
from typing import cast

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import channels_last, in_order, place_of
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.lowering.windows import (
    Windows,
    bordered,
    picture_order,
    whole_numbers,
    windows_of,
)
from torchedge_tflite.qdq_reader import Grid

__all__ = [
    *("average_pool", "depth_to_space", "global_average", "max_pool", "reduced"),
    *("softmax", "space_to_depth"),
]

_PROBABILITIES = Grid(scale=1 / 256, zero_point=-128)


def max_pool(operation: Operation, store: Store) -> None:
    """``MaxPool``; borders hold what no window chooses."""
    _pool(operation, store, "MAX_POOL_2D")


def average_pool(operation: Operation, store: Store) -> None:
    """``AveragePool`` within one grid."""
    _pool(operation, store, "AVERAGE_POOL_2D")


def _pool(operation: Operation, store: Store, kind: str) -> None:
    source, result = operation.operands[0], operation.results[0]
    assert isinstance(source, Value)
    windows = windows_of(operation, whole_numbers(operation, "kernel_shape", []))
    if max(windows.dilations) > 1:
        raise ExportError(f"'{operation.name}' is a dilated pool, which TFLite does not have.")
    order = picture_order(len(source.shape))
    found = store.get(source, order)
    if kind == "AVERAGE_POOL_2D" and found.grid not in {None, store.wanted.get(result.name)}:
        found = store.floats(source, order)  # the kernel cannot change the grid
    index, padding = _with_borders(operation, store, found, windows)
    out = store.put(result, found.order, found.grid)
    store.draft.operator(kind, [index], [out], **_pool_options(windows, padding))


def _pool_options(windows: Windows, padding: str) -> dict[str, object]:
    return {
        "padding": padding,
        "strideH": windows.strides[0],
        "strideW": windows.strides[1],
        "filterHeight": windows.kernel[0],
        "filterWidth": windows.kernel[1],
        "fusedActivationFunction": "NONE",
    }


def _with_borders(
    operation: Operation, store: Store, found: Stored, windows: Windows
) -> tuple[int, str]:
    """A picture whose borders fit. TensorFlow's own are left out of averages and of maxima.

    Raises:
        ExportError: Averages leave borders out that TensorFlow would not, or windows reach beyond.
    """
    name, maximum = operation.results[0].name, operation.kind == "MaxPool"
    if not any(windows.pads):
        return found.index, _whole_windows(operation, store, found, windows)
    counted = bool(operation.attributes.get("count_include_pad", 0))
    _require_no_window_more(operation, store, found, windows)
    index, padding = bordered(
        store, name, found, windows, lowest=maximum, own_borders=maximum or not counted
    )
    if padding == "VALID" and not maximum and not counted:
        raise ExportError(
            f"'{operation.name}' leaves its borders out of averages, and TFLite does so for "
            "borders of its own only; set count_include_pad, or choose another window."
        )
    return index, padding


def _require_no_window_more(
    operation: Operation, store: Store, found: Stored, windows: Windows
) -> None:
    """Between borders TFLite rounds the number of windows down; ``ceil_mode`` may round it up."""
    places = store.draft.tensors[found.index].shape[1:3]
    made = in_order(operation.results[0].shape, found.order)[1:3]
    pads = (sum(windows.pads[:2]), sum(windows.pads[2:]))
    for size, pad, kernel, stride, count in zip(
        places, pads, windows.kernel, windows.strides, made, strict=True
    ):
        if (size + pad - kernel) // stride + 1 != count:
            raise ExportError(
                f"'{operation.name}' rounds its number of windows up, which TFLite cannot."
            )


def _whole_windows(operation: Operation, store: Store, found: Stored, windows: Windows) -> str:
    """How TFLite calls the windows that fit without borders, or reach over the edge."""
    places = store.draft.tensors[found.index].shape[1:3]
    made = in_order(operation.results[0].shape, found.order)[1:3]
    sizes = list(zip(places, windows.kernel, windows.strides, made, strict=True))
    if all((size - kernel) // stride + 1 == count for size, kernel, stride, count in sizes):
        return "VALID"
    over = all(-(-size // stride) == count for size, _, stride, count in sizes)
    if over and operation.kind == "MaxPool" and _is_at_the_end(sizes):
        return "SAME"
    raise ExportError(f"'{operation.name}' rounds its number of windows up, which TFLite cannot.")


def _is_at_the_end(sizes: list[tuple[int, int, int, int]]) -> bool:
    """Whether TensorFlow would let all that is missing be missing behind the edge."""
    missing = [
        max((count - 1) * stride + kernel - size, 0) for size, kernel, stride, count in sizes
    ]
    return max(missing) <= 1


def global_average(operation: Operation, store: Store) -> None:
    """``GlobalAveragePool``."""
    source = operation.operands[0]
    assert isinstance(source, Value)
    _mean(operation, store, source, tuple(range(2, len(source.shape))), keeps=True)


def reduced(kind: str) -> Callable[[Operation, Store], None]:
    """The lowering of a mean, sum or maximum over axes."""

    def lower(operation: Operation, store: Store) -> None:
        source = operation.operands[0]
        assert isinstance(source, Value)
        listed = operation.operands[1] if len(operation.operands) > 1 else None
        given = (
            [int(v) for v in listed.values.ravel()]
            if isinstance(listed, Constant)
            else whole_numbers(operation, "axes", list(range(len(source.shape))))
        )
        given = given or list(range(len(source.shape)))  # an empty list means all
        axes = tuple(sorted(axis % len(source.shape) for axis in given))
        keeps = bool(operation.attributes.get("keepdims", 1))
        if kind == "MEAN":
            _mean(operation, store, source, axes, keeps=keeps)
        else:
            _reduce(operation, store, source, axes, kind, keeps=keeps)

    return lower


def _mean(
    operation: Operation, store: Store, source: Value, axes: tuple[int, ...], *, keeps: bool
) -> None:
    """A mean; within one grid over a whole picture a pool, which every runtime rounds alike."""
    grid = store.wanted.get(operation.results[0].name)
    found = store.get(source)
    places = axes == tuple(range(2, len(source.shape))) and len(source.shape) == 4
    if places and keeps and found.grid is not None and found.grid == grid:
        found = store.get(source, channels_last(4))
        out = store.put(operation.results[0], found.order, grid)
        whole = Windows(
            kernel=(source.shape[2], source.shape[3]),
            strides=(1, 1),
            dilations=(1, 1),
            pads=(0, 0, 0, 0),
        )
        options = _pool_options(whole, "VALID")
        store.draft.operator("AVERAGE_POOL_2D", [found.index], [out], **options)
        return
    _reduce(operation, store, source, axes, "MEAN", keeps=keeps)


def _reduce(
    operation: Operation,
    store: Store,
    source: Value,
    axes: tuple[int, ...],
    kind: str,
    *,
    keeps: bool,
) -> None:
    result = operation.results[0]
    grid = store.wanted.get(result.name)
    if kind == "REDUCE_MAX":  # one of the numbers that there are
        grid = store.grid_of(source)
    integer = store.grid_of(source) is not None and grid is not None
    found = (store.get if integer else store.floats)(source)
    places = sorted(place_of(axis, found.order) for axis in axes)
    kept = [axis for axis in range(len(source.shape)) if axis not in axes]
    order = tuple(
        axis if keeps else (axis if axis < 0 else kept.index(axis))
        for axis in found.order
        if keeps or axis not in axes
    )
    out = store.put(result, order, grid if integer else None)
    read = store.draft.constant("axes", np.array(places, np.int32))
    store.draft.operator(kind, [found.index, read], [out], keepDims=keeps)


def softmax(operation: Operation, store: Store) -> None:
    """``Softmax`` over one axis, which TFLite wants last."""
    source, result = operation.operands[0], operation.results[0]
    assert isinstance(source, Value)
    axis = int(cast(int, operation.attributes.get("axis", -1))) % len(source.shape)
    rest = tuple(a for a in store.order_of(source) if a not in {-1, axis})
    integer = store.grid_of(source) is not None and result.name in store.wanted
    found = (store.get if integer else store.floats)(source, (*rest, axis))
    out = store.put(result, found.order, _PROBABILITIES if integer else None)
    store.draft.operator("SOFTMAX", [found.index], [out], beta=1.0)


def _text(operation: Operation, name: str, default: str) -> str:
    value = operation.attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def depth_to_space(operation: Operation, store: Store) -> None:
    """``DepthToSpace``; by columns of channels, which TFLite lacks, through a transpose."""
    source, result = operation.operands[0], operation.results[0]
    assert isinstance(source, Value)
    block = int(cast(int, operation.attributes["blocksize"]))
    if _text(operation, "mode", "DCR") == "DCR":
        found = store.get(source, channels_last(4))
        out = store.put(result, found.order, found.grid)
        store.draft.operator("DEPTH_TO_SPACE", [found.index], [out], blockSize=block)
        return
    _shuffled(store, source, result, block)


def _shuffled(store: Store, source: Value, result: Value, block: int) -> None:
    batch, channels, height, width = source.shape
    wide = Value(
        name=f"{result.name}_wide", shape=(batch, channels // block**2, block, block, height, width)
    )
    found = store.get(source, channels_last(4))
    order = (0, 4, 5, 1, 2, 3)
    index = store.put(wide, order, found.grid)
    store.reshape(found.index, in_order(wide.shape, order), index)
    moved = store.get(wide, (0, 4, 2, 5, 3, 1))
    out = store.put(result, channels_last(4), found.grid)
    store.reshape(moved.index, in_order(result.shape, channels_last(4)), out)


def space_to_depth(operation: Operation, store: Store) -> None:
    """``SpaceToDepth``."""
    source, result = operation.operands[0], operation.results[0]
    assert isinstance(source, Value)
    found = store.get(source, channels_last(4))
    out = store.put(result, found.order, found.grid)
    block = int(cast(int, operation.attributes["blocksize"]))
    store.draft.operator("SPACE_TO_DEPTH", [found.index], [out], blockSize=block)
