"""Which layer gets how many bits: the assignment with the least error that a budget allows."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from torch import fx, nn

from torchedge.errors import BudgetError, SchemeError, UnknownNameError, UsageError
from torchedge.quantization.diagnostics.sensitivity import LayerSensitivity
from torchedge.quantization.diagnostics.walk import quantized_module
from torchedge.quantization.diagnostics.widths import set_weight_bits
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.operations import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BitBudget", "BitCosts", "choose_bits", "costs", "with_bits"]

_LARGEST_COEFFICIENT = 1e7  # the solver's absolute tolerance of 1e-6 is 1e-13 of it
_SLACK = 1 + 1e-9  # the solver may refuse what meets a limit exactly; what exceeds it is found out


@final
@dataclass(frozen=True, kw_only=True)
class BitCosts:
    """What one assignment of bits costs.

    Args:
        weight_bytes: ``Σ weights · bits / 8``, without biases and scales.
        bit_operations: ``Σ macs · weight bits · input bits`` of one sample (Baskin et al. 2021).
        error: ``Σ error`` of the layers, as if their noises added up.
    """

    weight_bytes: float
    bit_operations: int
    error: float


@final
@dataclass(frozen=True, kw_only=True)
class BitBudget:
    """The most that an assignment may cost; ``None`` is no limit.

    Args:
        weight_bytes: Of all weights.
        bit_operations: Of one sample.
        error: Sum of the layers' errors. With it the weights are made as small as it allows;
            without it the error is made as small as the other two allow.

    Raises:
        UsageError: Nothing is limited, so that nothing is to be chosen.
    """

    weight_bytes: float | None = None
    bit_operations: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        if self.weight_bytes is None and self.bit_operations is None and self.error is None:
            raise UsageError("the budget is empty; set weight_bytes, bit_operations or error.")


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
        error=math.fsum(row.error for row in chosen),
    )


def _bit_operations(row: LayerSensitivity) -> int:
    return row.macs * row.bits * row.input_bits


def choose_bits(sensitivities: Sequence[LayerSensitivity], budget: BitBudget) -> dict[str, int]:
    """The best assignment of bits to layers that a budget allows.

    A multiple-choice knapsack, solved as an integer program: ``x = 1`` for one width of each layer,
    the least ``Σ error·x`` with ``Σ weights·bits·x / 8 ≤ weight_bytes`` and
    ``Σ macs·bits·input_bits·x ≤ bit_operations``. With a limit on the error, the least bytes.
    Noise powers add up where the layers' errors are independent (Zhou et al. 2018, section 3). No
    assignment is better by more than 1e-13 of the largest figure.

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
    limits = _limits(rows, budget)
    _require_reachable(rows, limits)
    objective = _column(rows, "error" if budget.error is None else "weight_bytes")
    return _solved(rows, objective, limits)


_Limits = dict[str, float]


def _limits(rows: list[LayerSensitivity], budget: BitBudget) -> _Limits:
    names = ("weight_bytes", "bit_operations", "error")
    found = {name: getattr(budget, name) for name in names}
    return {name: float(limit) for name, limit in found.items() if limit is not None}


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


def with_bits(model: nn.Module, bits: Mapping[str, int]) -> nn.Module:
    """A copy of a prepared model whose named layers have weights of another width.

    At 32 bits a layer stays in float, and so does an activation that only float layers read. A
    weight scale that was chosen or learned for another width gives way to the min-max of each
    channel.

    Args:
        model: A model from ``prepare_qat``.
        bits: Width by path of the layer; layers that are not named stay as they are.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``, or no integers have that width.
        UnknownNameError: The model has no quantised layer of that name.

    Example:
        >>> import torch
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = prepare_qat(nn.Sequential(nn.Linear(3, 2)), QuantScheme(), (torch.zeros(1, 3),))
        >>> with_bits(net, {"0": 4}).get_submodule("0").spec.bits
        4
    """
    if not isinstance(model, fx.GraphModule):
        raise SchemeError(
            "with_bits() changes models made by prepare_qat; prepare the model first."
        )
    copied = copy.deepcopy(model)
    layers = {n: m for n, m in copied.named_modules() if isinstance(m, QuantizedLayer)}
    for name, width in bits.items():
        if name not in layers:
            raise UnknownNameError(
                f"the model has no quantised layer '{name}'; it has {', '.join(layers)}."
            )
        set_weight_bits(layers[name], width, name)
    _switch_inputs(copied, set(bits))
    return copied


def _switch_inputs(model: fx.GraphModule, changed: set[str]) -> None:
    """Turn on quantisers of changed layers where any reader computes on integers, else off."""
    places: dict[str, list[fx.Node]] = {}
    for node in model.graph.nodes:
        if isinstance(quantized_module(node, model), FakeQuantize):
            places.setdefault(str(node.target), []).append(node)
    for name, nodes in places.items():
        readers = [reader for node in nodes for reader in _readers(node, model)]
        if changed & {str(reader.target) for reader in readers}:
            quantizer = model.get_submodule(name)
            assert isinstance(quantizer, FakeQuantize)
            quantizer.kept_in_float = all(_is_float_layer(reader, model) for reader in readers)
            quantizer.enabled = not quantizer.kept_in_float


def _readers(node: fx.Node, model: fx.GraphModule) -> list[fx.Node]:
    """What reads a tensor, through operations that hand values on."""
    found = []
    for user in node.users:
        passes = kind_of(user, model) == "same_values"
        found += _readers(user, model) if passes else [user]
    return found


def _is_float_layer(node: fx.Node, model: fx.GraphModule) -> bool:
    module = quantized_module(node, model)
    return isinstance(module, QuantizedLayer) and not module.enabled
