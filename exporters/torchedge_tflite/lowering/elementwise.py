"""Sums, products and curves: what is computed number by number."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operand, Operation, Value
from torchedge_tflite.lowering.moves import stored_constant
from torchedge_tflite.lowering.orders import Order
from torchedge_tflite.lowering.padding import is_on_grid
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.qdq_reader import Grid

__all__ = ["binary", "clip", "curve", "gelu", "leaky_relu", "prelu"]

_FUSES = frozenset({"ADD", "DIV", "MUL", "SUB"})
_FLOAT_ONLY = frozenset({"DIV", "POW"})
_FIXED = {
    "LOGISTIC": Grid(scale=1 / 256, zero_point=-128),
    "TANH": Grid(scale=1 / 128, zero_point=0),
}


def binary(kind: str) -> Callable[[Operation, Store], None]:
    """The lowering of a sum, difference, product or quotient."""

    def lower(operation: Operation, store: Store) -> None:
        result = operation.results[0]
        order = _common_order(operation, store)
        grid = store.wanted.get(result.name)
        integer = (
            grid is not None
            and kind not in _FLOAT_ONLY
            and all(_is_whole(operand, store) for operand in operation.operands)
        )
        read = [_operand(o, store, order, result, integer) for o in operation.operands if o]
        out = store.put(result, order, grid if integer else None)
        options = {"fusedActivationFunction": "NONE"} if kind in _FUSES else {}
        store.draft.operator(kind, read, [out], **options)

    return lower


def _is_whole(operand: Operand | None, store: Store) -> bool:
    if isinstance(operand, Value):
        return store.grid_of(operand) is not None
    return isinstance(operand, Constant) and _is_exact(operand)


def _is_exact(constant: Constant) -> bool:
    """Whether eight bits hold it: it has a grid of its own, or is one number."""
    on_grid = constant.integers is not None and len(constant.scales) == 1
    return on_grid or bool(np.all(constant.values == constant.values.ravel()[:1]))


def _common_order(operation: Operation, store: Store) -> Order:
    """The order of the operand with most axes; one that is computed."""
    rank = len(operation.results[0].shape)
    values = [o for o in operation.operands if isinstance(o, Value) and len(o.shape) == rank]
    if not values:
        return tuple(range(rank))
    largest = max(values, key=lambda value: int(np.prod(value.shape)))
    return store.order_of(largest)


def _operand(operand: Operand, store: Store, order: Order, result: Value, integer: bool) -> int:
    rank = len(result.shape)
    if isinstance(operand, Constant):
        return _constant(operand, store, order, rank, integer)
    if len(operand.shape) == rank:
        return (store.get if integer else store.floats)(operand, order).index
    return _with_axes(operand, store, order, rank, integer)


def _with_axes(operand: Value, store: Store, order: Order, rank: int, integer: bool) -> int:
    """A tensor of fewer axes gets axes of size 1 in front, as PyTorch reads it."""
    missing = rank - len(operand.shape)
    own = tuple(axis - missing for axis in order if axis >= missing)
    found = (store.get if integer else store.floats)(operand, own)
    sizes = [1 if axis < missing else operand.shape[axis - missing] for axis in order]
    index = store.draft.activation(f"{operand.name}_wide", sizes, found.grid)
    store.reshape(found.index, sizes, index)
    return index


def _constant(constant: Constant, store: Store, order: Order, rank: int, integer: bool) -> int:
    wide = constant.values.reshape((1,) * (rank - constant.values.ndim) + constant.values.shape)
    axes = [axis for axis in order if axis >= 0]
    values = wide.transpose(axes)
    for place, axis in enumerate(order):
        if axis < 0:
            values = np.expand_dims(values, place)
    if not integer:
        return store.draft.constant(constant.name, values.astype(np.float32))
    scale, zero = _grid_of_constant(constant)
    whole = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
    return store.draft.constant(
        constant.name, whole, np.array([scale], np.float32), np.array([zero])
    )


def _grid_of_constant(constant: Constant) -> tuple[np.float32, int]:
    """Its own, or the finest that holds it."""
    if constant.integers is not None and len(constant.scales) == 1:
        return np.float32(constant.scales[0]), int(constant.zero_points[0])
    largest = float(np.abs(constant.values).max(initial=0.0))
    return np.float32(largest / 127 if largest else 1.0), 0


def curve(kind: str, **options: object) -> Callable[[Operation, Store], None]:
    """The lowering of a function of one number."""

    def lower(operation: Operation, store: Store) -> None:
        source, result = operation.operands[0], operation.results[0]
        assert isinstance(source, Value)
        grid = store.wanted.get(result.name)
        integer = grid is not None and store.grid_of(source) is not None
        fixed = _FIXED.get(kind)
        found = (store.get if integer else store.floats)(source)
        made = (fixed or grid) if integer else None
        out = store.put(result, found.order, made)
        store.draft.operator(kind, [found.index], [out], **options)

    return lower


def clip(operation: Operation, store: Store) -> None:
    """``Relu`` and ``Clip``: in the operation before it, or nothing where the grid ends there."""
    source, result = operation.operands[0], operation.results[0]
    assert isinstance(source, Value)
    low, high = _bounds(operation)
    found, activation = store.get(source), _activation(low, high)
    if found.grid is not None and _inside(found.grid, low, high):
        store.keep(result, found)
        return
    wanted = store.wanted.get(result.name)
    if found.grid is not None and wanted is not None and _inside(wanted, low, high):
        store.keep(result, store.on_grid(source, wanted))  # its ends cut where the limits do
        return
    if activation is None:
        exact = all(is_on_grid(end, found.grid) for end in (low, high) if np.isfinite(end))
        _limited(store, found if exact else store.floats(source), result, low, high)
        return
    own = store.is_own(source) and store.is_read_once(source) and not source.grids
    if own and store.draft.with_activation(found.index, activation):
        store.keep(result, found)
        return
    out = store.put(result, found.order, found.grid)
    store.draft.operator(activation, [found.index], [out])


def _limited(store: Store, found: Stored, result: Value, low: float, high: float) -> None:
    """Other limits: a maximum and a minimum with constants on the same grid."""
    index = found.index
    for kind, limit in (("MAXIMUM", low), ("MINIMUM", high)):
        if np.isinf(limit):
            continue
        number = Constant(name="limit", values=np.full((), limit, np.float32))
        read = stored_constant(number, store.draft, (), found.grid)
        made = store.draft.activation(
            f"{result.name}_{kind}", store.draft.tensors[index].shape, found.grid
        )
        store.draft.operator(kind, [index, read], [made])
        index = made
    store.keep(result, Stored(index=index, order=found.order, grid=found.grid))


def gelu(operation: Operation, store: Store) -> None:
    """``Gelu``, by the error function or by a hyperbolic tangent."""
    tanh = operation.attributes.get("approximate", b"none") == b"tanh"
    curve("GELU", approximate=tanh)(operation, store)


def leaky_relu(operation: Operation, store: Store) -> None:
    """``LeakyRelu`` as a PRELU: XNNPACK's own kernel multiplies by factors of eight bits."""
    alpha = float(cast(float, operation.attributes.get("alpha", 0.01)))
    slope = Constant(name="slope", values=np.full((), alpha, np.float32))
    binary("PRELU")(replace(operation, operands=(operation.operands[0], slope)), store)


def prelu(operation: Operation, store: Store) -> None:
    """``PRelu``; its slopes are stored, channels last."""
    binary("PRELU")(operation, store)


def _inside(grid: Grid, low: float, high: float) -> bool:
    """Whether a grid ends within half a step of the limits: rounding ends as clipping does."""
    lowest, highest = (-128 - grid.zero_point) * grid.scale, (127 - grid.zero_point) * grid.scale
    return low <= lowest + grid.scale / 2 and highest - grid.scale / 2 <= high


def _bounds(operation: Operation) -> tuple[float, float]:
    if operation.kind == "Relu":
        return 0.0, np.inf
    given = operation.operands[1:]
    if not all(o is None or isinstance(o, Constant) for o in given):
        raise ExportError(f"'{operation.name}' clips to limits that are computed.")
    ends = [o.values.item() if isinstance(o, Constant) else None for o in given]
    low, high = (*ends, None, None)[:2]
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _activation(low: float, high: float) -> str | None:
    return {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}.get(
        (low, high)
    )
