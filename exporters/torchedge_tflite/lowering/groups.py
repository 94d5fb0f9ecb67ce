"""Groups of a transposed convolution, each written as one of its own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.steps import inner

__all__ = ["one_group_each"]


def one_group_each(operation: Operation) -> Iterator[Operation]:
    """Groups of a transposed convolution, each on its own channels, joined again."""
    groups = int(cast(int, operation.attributes.get("group", 1)))
    if groups == 1:
        yield operation
        return
    source, weight, *rest = operation.operands
    result = operation.results[0]
    assert isinstance(source, Value)
    assert isinstance(weight, Constant)
    inputs, outputs = source.shape[1] // groups, result.shape[1] // groups
    pieces = [
        replace(
            source,
            name=f"{result.name}/in{g}",
            shape=(source.shape[0], inputs, *source.shape[2:]),
            grids=(),
        )
        for g in range(groups)
    ]
    yield Operation(
        kind="Split",
        name=operation.name,
        operands=(source,),
        results=tuple(pieces),
        attributes={"axis": 1},
    )
    parts = []
    for g, piece in enumerate(pieces):
        part = inner(operation, f"out{g}", (result.shape[0], outputs, *result.shape[2:]))
        bias = [
            _part_of(cast(Constant, b), g, groups, axis=0, shared=False)
            for b in rest
            if b is not None
        ]
        filters = _part_of(weight, g, groups, axis=0, shared=True)
        yield replace(
            operation,
            operands=(piece, filters, *bias),
            results=(part,),
            attributes={**operation.attributes, "group": 1},
        )
        parts.append(part)
    yield Operation(
        kind="Concat",
        name=f"{operation.name}/join",
        operands=tuple(parts),
        results=(result,),
        attributes={"axis": 1},
    )


def _part_of(constant: Constant, group: int, groups: int, *, axis: int, shared: bool) -> Constant:
    """The part of a constant that belongs to a group; ``shared``: so have its scales no part."""
    cut = [
        np.array_split(v, groups, axis)[group]
        for v in (constant.values, constant.integers)
        if v is not None
    ]
    many = len(constant.scales) > 1
    own = many and not shared
    return Constant(
        name=f"{constant.name}/{group}",
        values=cut[0],
        integers=cut[1] if len(cut) > 1 else None,
        scales=np.array_split(constant.scales, groups)[group] if own else constant.scales,
        zero_points=np.array_split(constant.zero_points, groups)[group]
        if own
        else constant.zero_points,
        axis=constant.axis,
    )
