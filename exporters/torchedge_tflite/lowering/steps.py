"""Building blocks of operations that are written as several."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.lowering.meaning import Constant, Operand, Operation, Value

__all__ = ["affine_step", "inner", "number", "step"]


def step(
    kind: str,
    operands: Sequence[Operand | None],
    result: Value,
    **attributes: object,
) -> Operation:
    """An operation of one result, called after it."""
    return Operation(
        kind=kind,
        name=result.name,
        operands=tuple(operands),
        results=(result,),
        attributes=attributes,
    )


def number(name: str, value: float | Array) -> Constant:
    """A constant of floats."""
    return Constant(name=name, values=np.asarray(value, np.float32))


def inner(operation: Operation, name: str, shape: Sequence[int]) -> Value:
    """A tensor between the operations that one is written as."""
    return Value(name=f"{operation.results[0].name}/{name}", shape=tuple(shape))


def affine_step(operation: Operation, source: Value, factor: Array, offset: Array) -> Operation:
    """A factor and an offset for each channel, in one operation."""
    numbers = [
        number(f"{operation.name}/factor", factor),
        number(f"{operation.name}/offset", offset),
    ]
    return replace(operation, kind="Affine", operands=(source, *numbers), attributes={"axis": 1})
