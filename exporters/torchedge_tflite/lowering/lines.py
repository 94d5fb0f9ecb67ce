"""Sums and products with constants, curves, and biases: what is a line for each channel."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge_tflite.lowering.meaning import Constant, Network, Operation, Value
from torchedge_tflite.lowering.steps import affine_step, inner, number, step

__all__ = [
    "hard_sigmoid",
    "power",
    "quotient",
    "reciprocal",
    "softplus",
    "with_biases",
    "with_constant",
]


def hard_sigmoid(operation: Operation) -> Iterator[Operation]:
    """``HardSigmoid``: a line, cut at 0 and 1."""
    source = operation.operands[0]
    assert isinstance(source, Value)
    alpha = float(cast(float, operation.attributes.get("alpha", 0.2)))
    beta = float(cast(float, operation.attributes.get("beta", 0.5)))
    line = inner(operation, "line", source.shape)
    axis = min(1, len(source.shape) - 1)
    ones = np.ones(source.shape[axis])
    line_step = affine_step(operation, source, alpha * ones, beta * ones)
    yield replace(line_step, results=(line,), attributes={"axis": axis})
    ends = [number("zero", 0.0), number("one", 1.0)]
    yield step("Clip", [line, *ends], operation.results[0])


def power(operation: Operation) -> Iterator[Operation]:
    """``Pow``; squares and roots have operators of their own."""
    source, exponent = operation.operands
    if isinstance(exponent, Constant) and exponent.values.size == 1:
        power = float(exponent.values.item())
        if power == 2.0:
            yield replace(operation, kind="Mul", operands=(source, source), attributes={})
            return
        if power == 0.5:
            yield replace(operation, kind="Sqrt", operands=(source,), attributes={})
            return
    yield operation


def reciprocal(operation: Operation) -> Iterator[Operation]:
    """``Reciprocal``."""
    yield replace(operation, kind="Div", operands=(number("one", 1.0), operation.operands[0]))


def softplus(operation: Operation) -> Iterator[Operation]:
    """``log(1 + exp(-|x|)) + max(x, 0)``, which never overflows."""
    source = operation.operands[0]
    assert isinstance(source, Value)
    names = ("absolute", "negative", "exponential", "one_more", "logarithm", "positive")
    absolute, negative, exponential, one_more, logarithm, positive = (
        inner(operation, name, source.shape) for name in names
    )
    yield step("Abs", [source], absolute)
    yield step("Neg", [absolute], negative)
    yield step("Exp", [negative], exponential)
    yield step("Add", [exponential, number("one", 1.0)], one_more)
    yield step("Log", [one_more], logarithm)
    yield step("Relu", [source], positive)
    yield step("Add", [logarithm, positive], operation.results[0])


def with_biases(network: Network) -> Network:
    """A sum right behind a product of matrices becomes its third operand, as in ``Gemm``."""
    made_by = {r.name: o for o in network.operations for r in o.results}
    counts: dict[str, int] = {}
    for operation in network.operations:
        for operand in operation.operands:
            if isinstance(operand, Value):
                counts[operand.name] = counts.get(operand.name, 0) + 1
    for value in network.outputs.values():
        counts[value.name] = counts.get(value.name, 0) + 1
    operations: list[Operation] = []
    for operation in network.operations:
        product = _product_before(operation, made_by, counts)
        biases = [o for o in operation.operands if isinstance(o, Constant)]
        if product is None:
            operations.append(operation)
            continue
        operations.remove(product)
        operands = (*product.operands, biases[0])
        operations.append(replace(product, operands=operands, results=operation.results))
    return replace(network, operations=tuple(operations))


def _product_before(
    operation: Operation, made_by: Mapping[str, Operation], counts: Mapping[str, int]
) -> Operation | None:
    values = [o for o in operation.operands if isinstance(o, Value)]
    if operation.kind != "Add" or len(values) != 1 or values[0].grids:
        return None
    product, bias = (
        made_by.get(values[0].name),
        next(o for o in operation.operands if isinstance(o, Constant)),
    )
    if product is None or product.kind != "MatMul" or counts[values[0].name] != 1:
        return None
    weight = product.operands[1]
    plain = isinstance(weight, Constant) and weight.values.ndim == 2 and len(product.operands) == 2
    return product if plain and bias.values.size == cast(Constant, weight).shape[1] else None


def quotient(operation: Operation) -> Iterator[Operation]:
    """By a constant: a product with its inverse."""
    source, divisor = operation.operands
    if isinstance(source, Value) and isinstance(divisor, Constant):
        inverse = number(f"{divisor.name}/inverse", 1.0 / divisor.values.astype(np.float64))
        yield from with_constant(replace(operation, kind="Mul", operands=(source, inverse)))
    else:
        yield operation


def with_constant(operation: Operation) -> Iterator[Operation]:
    """A sum, difference or product with a constant for each channel, as one line for each."""
    left, right = operation.operands
    value, constant = (left, right) if isinstance(right, Constant) else (right, left)
    if not isinstance(value, Value) or not isinstance(constant, Constant):
        yield operation
        return
    line = _line_of(operation, value, constant)
    yield operation if line is None else line


def _line_of(operation: Operation, value: Value, constant: Constant) -> Operation | None:
    wide = (
        constant.values.reshape(
            (1,) * (len(value.shape) - constant.values.ndim) + constant.values.shape
        )
        if constant.values.ndim <= len(value.shape)
        else constant.values
    )
    axes = [axis for axis, size in enumerate(wide.shape) if size != 1]
    if len(axes) != 1 or tuple(value.shape) != tuple(operation.results[0].shape):
        return None
    numbers, ones = wide.ravel().astype(np.float64), np.ones(wide.size)
    factor, offset = {
        "Mul": (numbers, 0 * ones),
        "Add": (ones, numbers),
        "Sub": (ones, -numbers) if operation.operands[0] is value else (-ones, numbers),
    }[operation.kind]
    return replace(affine_step(operation, value, factor, offset), attributes={"axis": axes[0]})
