"""The operations that a GELU is exported as, made one again."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from torchedge_tflite.lowering.meaning import Constant, Network, Operand, Operation, Value

__all__ = ["with_gelu"]


def with_gelu(network: Network) -> Network:
    """The four or five operations that ``GELU`` is exported as become one."""
    made_by = {r.name: o for o in network.operations for r in o.results}
    replaced: dict[str, Operation] = {}
    for operation in network.operations:
        source = _gelu_source(operation, made_by)
        if source is not None:
            replaced[operation.results[0].name] = replace(
                operation, kind="Gelu", operands=(source,), attributes={}
            )
    if not replaced:
        return network
    operations = [
        replaced.get(o.results[0].name, o) if o.results else o for o in network.operations
    ]
    return replace(network, operations=tuple(_read_ones(operations, network)))


def _read_ones(operations: list[Operation], network: Network) -> list[Operation]:
    read = {value.name for value in network.outputs.values()}
    kept = []
    for operation in reversed(operations):
        if any(result.name in read for result in operation.results):
            kept.append(operation)
            read |= {o.name for o in operation.operands if isinstance(o, Value)}
    return kept[::-1]


def _gelu_source(operation: Operation, made_by: Mapping[str, Operation]) -> Value | None:
    """``x`` of ``x · 0.5 · (1 + erf(x / √2))``, multiplied in any order."""
    if operation.kind != "Mul":
        return None
    found = (_source_of_factors(factors, made_by) for factors in _triples(operation, made_by))
    return next((source for source in found if source is not None), None)


def _source_of_factors(factors: list[Operand], made_by: Mapping[str, Operation]) -> Value | None:
    halves = [f for f in factors if _is_number(f, 0.5)]
    ones = [
        s for f in factors if isinstance(f, Value) and (s := _erf_source(f, made_by)) is not None
    ]
    values = [f for f in factors if isinstance(f, Value) and _erf_source(f, made_by) is None]
    if not (len(halves) == len(ones) == len(values) == 1):
        return None
    return values[0] if ones[0] == values[0] else None


def _triples(operation: Operation, made_by: Mapping[str, Operation]) -> Iterator[list[Operand]]:
    """Three factors: one operand, and both of the product that the other one is."""
    for place, operand in enumerate(operation.operands):
        inner = made_by.get(operand.name) if isinstance(operand, Value) else None
        if inner is None or inner.kind != "Mul" or cast(Value, operand).grids:
            continue
        others = [*operation.operands[:place], *operation.operands[place + 1 :], *inner.operands]
        yield [other for other in others if other is not None]


def _erf_source(value: Value, made_by: Mapping[str, Operation]) -> Value | None:
    """``x`` of ``1 + erf(x / √2)``."""
    added = made_by.get(value.name)
    if value.grids or added is None or added.kind != "Add":
        return None
    inner = [made_by.get(o.name) for o in added.operands if isinstance(o, Value)]
    if len(inner) != 1 or inner[0] is None or inner[0].kind != "Erf":
        return None
    if not any(_is_number(o, 1.0) for o in added.operands):
        return None
    scaled = made_by.get(cast(Value, inner[0].operands[0]).name)
    if scaled is None or scaled.kind not in {"Div", "Mul"}:
        return None
    by = np.sqrt(2.0) if scaled.kind == "Div" else np.sqrt(0.5)
    source = [o for o in scaled.operands if isinstance(o, Value)]
    fits = any(_is_number(o, float(by)) for o in scaled.operands)
    return source[0] if len(source) == 1 and fits else None


def _is_number(operand: Operand | None, number: float) -> bool:
    if not isinstance(operand, Constant) or operand.values.size != 1:
        return False
    return bool(abs(float(operand.values.item()) - number) < 1e-5)
