"""How much of the arithmetic is really integer: counted in multiply-accumulates."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import final

__all__ = ["Census", "LayerCount", "OperatorCount", "counted", "operators_text"]

_MOST_NAMED = 6


@final
@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """One weighted operation as the runtime will execute it.

    Args:
        name: Name of the node.
        operation: Its type, for example ``QLinearConv``.
        macs: Multiply-accumulates of one inference.
        integer: Whether they are done on integers.
        reason: Why not, where that is known.
    """

    name: str
    operation: str
    macs: int
    integer: bool
    reason: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class OperatorCount:
    """How often one type of operator is in the graph, weighted or not.

    Args:
        operation: Its type, for example ``Transpose``.
        count: How many there are.
        in_float: How many of them compute or move floats; ``None`` where the runtime decides.
        converts: Whether it only turns floats into integers or back.
    """

    operation: str
    count: int
    in_float: int | None
    converts: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Census:
    """All weighted operations of an artefact, and how many operators of each type it has.

    Args:
        layers: Operation by operation.
        evidence: Where this was read: the runtime's own graph, or rules only ("eligible, not run").
        operators: Every type of operator, those without multiply-accumulates too, the most frequent
            first; empty where nothing counts them.

    Example:
        >>> layers = (LayerCount(name="a", operation="QLinearConv", macs=75, integer=True),
        ...           LayerCount(name="b", operation="Conv", macs=25, integer=False))
        >>> Census(layers=layers, evidence="an example").integer_share
        0.75
    """

    layers: tuple[LayerCount, ...]
    evidence: str
    operators: tuple[OperatorCount, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates that are integer; 0 where there are none at all."""
        integer = sum(layer.macs for layer in self.layers if layer.integer)
        return integer / self.macs if self.macs else 0.0


def operators_text(census: Census) -> str:
    """What there is beside the arithmetic, in one sentence: in float, moving data, converting.

    Example:
        >>> found = [("QLinearConv", False), ("Transpose", False), ("BatchNormalization", True)]
        >>> found += [("QuantizeLinear", False)]
        >>> operators = counted(found, {"QuantizeLinear"})
        >>> operators_text(Census(layers=(), evidence="an example", operators=operators))
        'Operators: 4; in float: 1 BatchNormalization; transposes: 1; between floats and integers: \
1 QuantizeLinear'
    """
    entries = census.operators
    others = [entry for entry in entries if not entry.converts]
    known = {entry.operation: entry.in_float for entry in others if entry.in_float}
    decided = any(entry.in_float is not None for entry in others)
    what = (
        f"in float: {_listed(known)}"
        if decided
        else _listed({entry.operation: entry.count for entry in others})
    )
    transposes = sum(entry.count for entry in others if entry.operation.upper() == "TRANSPOSE")
    conversions = {entry.operation: entry.count for entry in entries if entry.converts}
    return (
        f"Operators: {sum(entry.count for entry in entries):,}; {what}; transposes: "
        f"{transposes:,}; between floats and integers: {_listed(conversions)}"
    )


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} {operation}" for operation, count in ordered[:_MOST_NAMED]]
    others = sum(count for _, count in ordered[_MOST_NAMED:])
    return ", ".join([*named, *([f"{others:,} others"] if others else [])]) or "none"


def counted(
    operators: Iterable[tuple[str, bool | None]], conversions: Collection[str]
) -> tuple[OperatorCount, ...]:
    """Count operators by type, the most frequent first.

    Args:
        operators: Each by its type, and whether it works on floats, ``None`` where that is open.
        conversions: Types that only turn floats into integers or back.

    Example:
        >>> [found] = counted([("Add", True), ("Add", False)], ())
        >>> (found.operation, found.count, found.in_float)
        ('Add', 2, 1)
    """
    found: dict[str, list[bool | None]] = {}
    for operation, in_float in operators:
        found.setdefault(operation, []).append(in_float)
    return tuple(
        OperatorCount(
            operation=operation,
            count=len(answers),
            in_float=None if None in answers else sum(map(bool, answers)),
            converts=operation in conversions,
        )
        for operation, answers in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    )
