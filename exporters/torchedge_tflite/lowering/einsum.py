"""Sums over products of two tensors, written as products of matrices."""

from collections.abc import Generator, Iterator, Mapping
from typing import cast

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operand, Operation
from torchedge_tflite.lowering.steps import inner, step

__all__ = ["einsum"]


def einsum(operation: Operation) -> Iterator[Operation]:
    """A product of two tensors, as one of matrices: labels shared, summed, left and right."""
    equation = cast(bytes, operation.attributes["equation"]).decode().replace(" ", "")
    terms, _, result_labels = equation.partition("->")
    labels = terms.split(",")
    twice = any(len(set(term)) != len(term) for term in (*labels, result_labels))
    if len(labels) != 2 or "." in equation or not result_labels or twice:
        raise ExportError(
            f"'{operation.name}' computes '{equation}'; two terms can be, without dots and "
            "without a letter twice in one."
        )
    left, right = cast(tuple[Operand, Operand], operation.operands)
    shared = [c for c in labels[0] if c in labels[1] and c in result_labels]
    summed = [c for c in labels[0] if c in labels[1] and c not in result_labels]
    lefts = [c for c in labels[0] if c not in labels[1]]
    rights = [c for c in labels[1] if c not in labels[0]]
    if any(c not in result_labels for c in (*lefts, *rights)):
        raise ExportError(f"'{operation.name}' computes '{equation}', which sums within a term.")
    sizes = dict(zip(labels[0], left.shape, strict=True)) | dict(
        zip(labels[1], right.shape, strict=True)
    )
    a = yield from _matrices(operation, "left", left, labels[0], [shared, lefts, summed], sizes)
    b = yield from _matrices(operation, "right", right, labels[1], [shared, summed, rights], sizes)
    groups = [[sizes[c] for c in group] for group in (shared, lefts, rights)]
    if isinstance(b, Constant):
        flat = (1, *(int(np.prod(g)) for g in groups[1:]))
    else:
        flat = tuple(int(np.prod(g)) for g in groups)
    product = inner(operation, "product", flat)
    yield step("MatMul", [a, b], product)
    wide = inner(operation, "wide", [size for group in groups for size in group])
    yield step("Reshape", [product], wide)
    ordered = [*shared, *lefts, *rights]
    permutation = [ordered.index(c) for c in result_labels]
    yield step("Transpose", [wide], operation.results[0], perm=permutation)


def _matrices(
    operation: Operation,
    side: str,
    operand: Operand,
    labels: str,
    groups: list[list[str]],
    sizes: Mapping[str, int],
) -> Generator[Operation, None, Operand]:
    permutation = [labels.index(c) for group in groups for c in group]
    shape = [int(np.prod([sizes[c] for c in group])) for group in groups]
    if isinstance(operand, Constant):
        if groups[0]:
            raise ExportError(f"'{operation.name}' multiplies each of a batch by its own constant.")
        values = operand.values.transpose(permutation).reshape(shape[1:])
        return Constant(name=operand.name, values=values)
    moved = inner(operation, f"{side}_moved", [operand.shape[p] for p in permutation])
    yield step("Transpose", [operand], moved, perm=permutation)
    matrix = inner(operation, side, shape)
    yield step("Reshape", [moved], matrix)
    return matrix
