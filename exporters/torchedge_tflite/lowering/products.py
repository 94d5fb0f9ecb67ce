"""Products of matrices: with constants, and of two computed ones."""

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import Order
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.lowering.weighted import linear

__all__ = ["gemm", "matmul"]


def gemm(operation: Operation, store: Store) -> None:
    """``Gemm`` with a constant matrix."""
    plain = (
        operation.attributes.get("alpha", 1.0) == 1.0
        and operation.attributes.get("beta", 1.0) == 1.0
        and not operation.attributes.get("transA", 0)
    )
    if not plain or not isinstance(operation.operands[1], Constant):
        raise ExportError(f"'{operation.name}' is a Gemm with factors or a computed matrix.")
    bias = operation.operands[2] if len(operation.operands) > 2 else None
    linear(operation, store, bias if isinstance(bias, Constant) else None, operation.results[0])


def matmul(operation: Operation, store: Store) -> None:
    """``MatMul``."""
    left, right, *rest = operation.operands
    if isinstance(left, Value) and isinstance(right, Constant) and len(right.shape) == 2:
        bias = rest[0] if rest else None
        linear(operation, store, bias if isinstance(bias, Constant) else None, operation.results[0])
        return
    if not isinstance(left, Value) or not isinstance(right, Value):
        raise ExportError(f"'{operation.name}' multiplies a constant by a computed matrix.")
    result = operation.results[0]
    if len({len(left.shape), len(right.shape), len(result.shape)}) != 1:
        raise ExportError(f"'{operation.name}' multiplies tensors of different numbers of axes.")
    grid = store.wanted.get(result.name)
    integer = grid is not None and None not in (store.grid_of(left), store.grid_of(right))
    read = store.get if integer else store.floats
    a, swapped_a = _matrix(read(left), left)
    b, swapped_b = _matrix(read(right), right)
    first, second = read(left, a), read(right, b)
    out = store.put(result, tuple(range(len(result.shape))), grid if integer else None)
    store.draft.operator(
        "BATCH_MATMUL", [first.index, second.index], [out], adjX=swapped_a, adjY=swapped_b
    )


def _matrix(found: Stored, value: Value) -> tuple[Order, bool]:
    """An order with the matrices last; they may lie transposed."""
    rank = len(value.shape)
    batch = tuple(range(rank - 2))
    swapped = (*batch, rank - 1, rank - 2)
    return (swapped, True) if found.order == swapped else (tuple(range(rank)), False)
