"""Norms, written as means, differences and products."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operand, Operation, Value
from torchedge_tflite.lowering.steps import affine_step, inner, number, step

__all__ = ["batch_norm", "instance_norm", "l2_norm", "layer_norm"]


def layer_norm(operation: Operation) -> Iterator[Operation]:
    """Mean, variance, and a product with one over the deviation, in floats."""
    source, scale, *rest = operation.operands
    assert isinstance(source, Value)
    first = int(cast(int, operation.attributes.get("axis", -1))) % len(source.shape)
    axes = list(range(first, len(source.shape)))
    epsilon = float(cast(float, operation.attributes.get("epsilon", 1e-5)))
    yield from _normalised(operation, source, axes, epsilon, scale, rest[0] if rest else None)


def instance_norm(operation: Operation) -> Iterator[Operation]:
    """``InstanceNormalization``: over the places of each channel."""
    source, scale, bias = operation.operands
    assert isinstance(source, Value)
    axes = list(range(2, len(source.shape)))
    wide = (1, -1, *(1 for _ in axes))
    epsilon = float(cast(float, operation.attributes.get("epsilon", 1e-5)))
    parts = [_reshaped_constant(part, wide) for part in (scale, bias)]
    yield from _normalised(operation, source, axes, epsilon, *parts)


def _reshaped_constant(operand: Operand | None, shape: Sequence[int]) -> Constant:
    if not isinstance(operand, Constant):
        raise ExportError("a norm's scale is computed; TFLite files here store it.")
    return number(operand.name, operand.values.reshape(shape))


def _normalised(
    operation: Operation,
    source: Value,
    axes: list[int],
    epsilon: float,
    scale: Operand | None,
    bias: Operand | None,
) -> Iterator[Operation]:
    small = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    places = Constant(name="axes", values=np.array(axes))
    mean, centred = inner(operation, "mean", small), inner(operation, "centred", source.shape)
    square, variance = (
        inner(operation, "square", source.shape),
        inner(operation, "variance", small),
    )
    safe, inverse = inner(operation, "safe", small), inner(operation, "inverse", small)
    unit = inner(operation, "unit", source.shape)
    yield step("ReduceMean", [source, places], mean, keepdims=1)
    yield step("Sub", [source, mean], centred)
    yield step("Mul", [centred, centred], square)
    yield step("ReduceMean", [square, places], variance, keepdims=1)
    yield step("Add", [variance, number("epsilon", epsilon)], safe)
    yield step("Rsqrt", [safe], inverse)
    result = operation.results[0]
    after = [(kind, part) for kind, part in (("Mul", scale), ("Add", bias)) if part is not None]
    yield step("Mul", [centred, inverse], unit if after else result)
    for index, (kind, part) in enumerate(after, 1):
        target = result if index == len(after) else inner(operation, kind, source.shape)
        yield step(kind, [unit, part], target)
        unit = target


def batch_norm(operation: Operation) -> Iterator[Operation]:
    """``BatchNormalization`` that no layer took in: a line for each channel."""
    source, scale, bias, mean, variance = operation.operands
    assert isinstance(source, Value)
    parts = [
        cast(Constant, part).values.astype(np.float64) for part in (scale, bias, mean, variance)
    ]
    epsilon = float(cast(float, operation.attributes.get("epsilon", 1e-5)))
    factor = parts[0] / np.sqrt(parts[3] + epsilon)
    yield affine_step(operation, source, factor, parts[1] - parts[2] * factor)


def l2_norm(operation: Operation) -> Iterator[Operation]:
    """``ReduceL2``: the root of a sum of squares."""
    source = operation.operands[0]
    assert isinstance(source, Value)
    square = inner(operation, "square", source.shape)
    total = inner(operation, "sum", operation.results[0].shape)
    yield step("Mul", [source, source], square)
    yield replace(
        operation,
        kind="ReduceSum",
        operands=(square, *operation.operands[1:]),
        results=(total,),
    )
    yield step("Sqrt", [total], operation.results[0])
