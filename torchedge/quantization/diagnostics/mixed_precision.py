"""Which layer gets how many bits: the assignment with the least error that a budget allows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from torchedge.errors import BudgetError, UnknownNameError, UsageError
from torchedge.kinds import fields_checked, kinds_checked
from torchedge.quantization.bit_widths import FLOAT_BITS
from torchedge.quantization.diagnostics.sensitivity import LayerSensitivity

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BitBudget", "BitCosts", "choose_bits", "costs"]

_LIMITED = ("weight_bytes", "bit_operations", "float_macs", "error")
_LARGEST_COEFFICIENT = 1e7  # the solver's absolute tolerance of 1e-6 is 1e-13 of it
_SLACK = 1 + 1e-9  # the solver may refuse what meets a limit exactly; what exceeds it is found out


@final
@dataclass(frozen=True, kw_only=True)
class BitCosts:
    """What one assignment of bits costs.

    Args:
        weight_bytes: ``Σ weights · bits / 8``, without biases and scales.
        bit_operations: ``Σ macs · weight bits · input bits`` of one sample (Baskin et al. 2021).
        float_macs: Multiply-accumulates of one sample in layers left in float.
        error: ``Σ error`` of the layers, as if their noises added up.
    """

    weight_bytes: float
    bit_operations: int
    float_macs: int
    error: float


@final
@dataclass(frozen=True, kw_only=True)
class BitBudget:
    """The most that an assignment may cost; ``None`` is no limit.

    Args:
        weight_bytes: Of all weights.
        bit_operations: Of one sample.
        float_macs: Of one sample; 5 % of all MACs leave 95 % on integers.
        error: Sum of the layers' errors. With it the weights are made as small as it allows;
            without it the error is made as small as the others allow.

    Raises:
        UsageError: Nothing is limited, so that nothing is to be chosen.
    """

    weight_bytes: float | None = None
    bit_operations: float | None = None
    float_macs: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        fields_checked(self)
        if not self.limits:
            raise UsageError(f"the budget is empty; set one or more of {', '.join(_LIMITED)}.")

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, by name."""
        found = {name: getattr(self, name) for name in _LIMITED}
        return {name: float(limit) for name, limit in found.items() if limit is not None}


@kinds_checked()
def costs(sensitivities: Sequence[LayerSensitivity], bits: Mapping[str, int]) -> BitCosts:
    """What an assignment costs, by the figures of its layers.

    Raises:
        UnknownNameError: A layer was not measured with the bits that it is assigned.
    """
    rows = {(row.layer, row.bits): row for row in sensitivities}
    missing = [choice for choice in bits.items() if choice not in rows]
    if missing:
        raise UnknownNameError(
            f"'{missing[0][0]}' was not measured with {missing[0][1]} bits; "
            f"call sensitivity(…, bits=({missing[0][1]}, …))."
        )
    chosen = [rows[choice] for choice in bits.items()]
    return BitCosts(
        weight_bytes=sum(row.weights * row.bits for row in chosen) / 8,
        bit_operations=sum(_bit_operations(row) for row in chosen),
        float_macs=sum(row.macs for row in chosen if row.bits == FLOAT_BITS),
        error=math.fsum(row.error for row in chosen),
    )


def _bit_operations(row: LayerSensitivity) -> int:
    return row.macs * row.bits * row.input_bits


@kinds_checked()
def choose_bits(sensitivities: Sequence[LayerSensitivity], budget: BitBudget) -> dict[str, int]:
    """The best assignment of bits to layers that a budget allows.

    A multiple-choice knapsack, solved as an integer program: ``x = 1`` for one width of each layer,
    the least ``Σ error·x`` with ``Σ weights·bits·x / 8 ≤ weight_bytes`` and
    ``Σ macs·bits·input_bits·x ≤ bit_operations``, and ``Σ macs·x ≤ float_macs`` over the layers in
    float. With a limit on the error, the least bytes.
    Noise powers add up where the layers' errors are independent (Zhou et al. 2018, section 3). No
    assignment is better by more than 2e-6 of the smallest difference that a width of a layer makes,
    or 2e-13 of the largest where that is more: the solver's absolute tolerances.

    Args:
        sensitivities: From :func:`~torchedge.quantization.diagnostics.sensitivity`: every width of
            every layer is a choice.
        budget: What the assignment may cost.

    Returns:
        Bits by layer; 32 is float.

    Raises:
        BudgetError: No assignment fits; the text holds the smallest one.
        UsageError: An error is NaN or infinite.

    Example:
        >>> errors = {("a", 8): 0.0, ("a", 4): 0.9, ("b", 8): 0.0, ("b", 4): 0.1}
        >>> same = {"sqnr_db": 20.0, "weights": 100, "macs": 100, "input_bits": 8}
        >>> rows = [
        ...     LayerSensitivity(layer=layer, bits=bits, error=error, **same)
        ...     for (layer, bits), error in errors.items()
        ... ]
        >>> choose_bits(rows, BitBudget(weight_bytes=150))
        {'a': 8, 'b': 4}
    """
    rows = list(sensitivities)
    if not rows or not all(math.isfinite(row.error) for row in rows):
        raise UsageError(
            f"{len(rows)} sensitivities were given, and all errors must be finite; measure with "
            "samples that give the network a signal."
        )
    limits = budget.limits
    _require_reachable(rows, limits)
    objective = _column(rows, "error" if budget.error is None else "weight_bytes")
    return _solved(rows, objective, limits)


_Limits = dict[str, float]


def _column(rows: list[LayerSensitivity], name: str) -> "NDArray[np.float64]":
    """One figure of every row, exact in float64 below 2^53."""
    figures = [costs([row], {row.layer: row.bits}) for row in rows]
    return np.array([getattr(figure, name) for figure in figures], dtype=np.float64)


def _members(rows: list[LayerSensitivity]) -> dict[str, list[int]]:
    """Places of the rows of each layer."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.layer, []).append(place)
    return places


def _require_reachable(rows: list[LayerSensitivity], limits: _Limits) -> None:
    for name, limit in limits.items():
        column = _column(rows, name)
        smallest = math.fsum(column[places].min() for places in _members(rows).values())
        if smallest > limit:
            raise BudgetError(
                f"no assignment reaches {name} = {limit:,.6g}: the smallest has {smallest:,.6g}. "
                "Allow more, or measure the layers with more widths (bits=…)."
            )


def _solved(
    rows: list[LayerSensitivity], objective: "NDArray[np.float64]", limits: _Limits
) -> dict[str, int]:
    """Solve, and forbid what meets a limit only within a tolerance, until one fits."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    members = _members(rows)
    one_each = np.zeros((len(members), len(rows)))
    for line, places in enumerate(members.values()):
        one_each[line, places] = 1
    constraints = [LinearConstraint(one_each, 1, 1)]
    for name, limit in limits.items():
        column = _column(rows, name)
        ceiling = max(limit * _SLACK, limit / _SLACK) * _factor(column)
        constraints.append(LinearConstraint(column * _factor(column), -np.inf, ceiling))
    goal = _from_smallest(objective, members)
    while True:
        found = milp(
            goal * _factor(goal),
            integrality=np.ones(len(rows)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            raise BudgetError(_jointly_impossible(rows, limits))
        chosen = found.x > 0.5
        if all(math.fsum(_column(rows, n)[chosen]) <= limit for n, limit in limits.items()):
            return {row.layer: row.bits for row, taken in zip(rows, chosen, strict=True) if taken}
        constraints.append(LinearConstraint(chosen.astype(float), -np.inf, len(members) - 1))


def _from_smallest(
    column: "NDArray[np.float64]", members: dict[str, list[int]]
) -> "NDArray[np.float64]":
    """What each choice costs more than the cheapest one of its layer."""
    more = column.copy()
    for places in members.values():
        more[places] -= more[places].min()
    return more


def _factor(column: "NDArray[np.float64]") -> float:
    """Brings the smallest figure to 1 where that keeps the largest below 1e7."""
    positive = np.abs(column[column != 0])
    if not len(positive):
        return 1.0
    return float(min(1 / positive.min(), _LARGEST_COEFFICIENT / positive.max()))


def _jointly_impossible(rows: list[LayerSensitivity], limits: _Limits) -> str:
    wanted = ", ".join(f"{name} ≤ {limit:,.6g}" for name, limit in limits.items())
    return (
        f"no assignment meets {wanted} together, though each can be met alone "
        f"({len(_members(rows))} layers, {len(rows)} choices). Allow more of one of them."
    )
