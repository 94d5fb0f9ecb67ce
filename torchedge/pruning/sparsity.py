"""How sparse a network is, layer by layer, and what was left out and why."""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from torchedge.pruning.masks import mask_on
from torchedge.pruning.patterns import Pattern, Unstructured, select_for
from torchedge.pruning.selection import LeaveOut, plain_name, weighted_layers
from torchedge.quantization.layers import TRANSPOSED
from torchedge.text import cell

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["SparsityReport", "WeightSparsity", "sparsity_report"]

_COLUMNS = ("weight", "shape", "weights", "zeros", "sparsity", "2:4", "left out")
_LEFT = {"weight", "shape", "2:4", "left out"}
_WIDTH = 110


@final
@dataclass(frozen=True, kw_only=True)
class WeightSparsity:
    """One weight of a convolution or linear layer.

    Args:
        name: As in the ``state_dict`` of the network without masks.
        shape: Of the weight.
        zeros: How many weights are zero.
        two_of_four: Whether every run of four inputs holds two zeros or more.
        left_out: Why it is not pruned; empty where it is.
    """

    name: str
    shape: tuple[int, ...]
    zeros: int
    two_of_four: bool
    left_out: str

    @property
    def weights(self) -> int:
        """How many there are."""
        return int(torch.Size(self.shape).numel())

    @property
    def sparsity(self) -> float:
        """The share that is zero."""
        return self.zeros / self.weights


@final
@dataclass(frozen=True, kw_only=True)
class SparsityReport:
    """The weights of a network, and the other parameters that pruning leaves out.

    ``print`` shows the table and, below it, what was left out.

    Args:
        rows: Weights of convolutions and linear layers, in order.
        others: Reasons, by the name of every other parameter.
        other_parameters: How many numbers those hold.
    """

    rows: tuple[WeightSparsity, ...]
    others: dict[str, str]
    other_parameters: int

    @property
    def sparsity(self) -> float:
        """The share of zeros in all weights of convolutions and linear layers."""
        return sum(row.zeros for row in self.rows) / sum(row.weights for row in self.rows)

    @property
    def pruned_sparsity(self) -> float:
        """The same in those that were not left out."""
        pruned = [row for row in self.rows if not row.left_out]
        return sum(row.zeros for row in pruned) / max(sum(row.weights for row in pruned), 1)

    def to_table(self) -> "Table":
        """The rows as a table for the terminal."""
        from rich import box
        from rich.table import Table

        table = Table(title=self._title(), title_justify="left", box=box.SIMPLE_HEAD)
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column in _LEFT else "right")
        for row in self.rows:
            table.add_row(*map(cell, _cells(row)))
        return table

    def __str__(self) -> str:
        """The table, and what was left out."""
        from rich.console import Console

        stream = io.StringIO()
        Console(file=stream, width=_WIDTH, color_system=None).print(self.to_table())
        lines = [line.rstrip() for line in stream.getvalue().splitlines()]
        return "\n".join([*lines, self._left_out_line()])

    def _title(self) -> str:
        weights = sum(row.weights for row in self.rows)
        return (
            f"{self.sparsity:.1%} of {weights:,} weights are zero, "
            f"{self.pruned_sparsity:.1%} where they were pruned"
        )

    def _left_out_line(self) -> str:
        if not self.others:
            return "Nothing else has parameters."
        counts = Counter(self.others.values()).items()
        kinds = ", ".join(f"{count:,} × {why}" for why, count in counts)
        return f"Left out besides: {kinds}; {self.other_parameters:,} numbers."


def sparsity_report(
    model: nn.Module,
    *,
    pattern: Pattern | None = None,
    leave_out: LeaveOut = (),
    last_layer: bool = False,
) -> SparsityReport:
    """Counts of zeros, layer by layer, of a network with masks or after they were baked.

    Args:
        model: Any network.
        pattern: As for :func:`~torchedge.pruning.weight_masks`, so that the reasons are the same.
        leave_out: The same.
        last_layer: The same.

    Raises:
        PruningError: A name to leave out is not there, or there is nothing to prune.

    Example:
        >>> from torchedge.pruning import mask_weights, weight_masks
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        >>> report = sparsity_report(mask_weights(net, weight_masks(net, 0.75)))
        >>> [(row.name, row.zeros, row.left_out) for row in report.rows]
        [('0.weight', 12, ''), ('1.weight', 0, 'the last layer')]
    """
    selection = select_for(
        Unstructured() if pattern is None else pattern,
        model,
        leave_out=leave_out,
        last_layer=last_layer,
    )
    rows = tuple(_rows(model, dict(selection.left_out)))
    inside = {row.name for row in rows}
    others = {n: why for n, why in selection.left_out.items() if n not in inside}
    numbers = sum(p.numel() for n, p in model.named_parameters() if plain_name(n) in others)
    return SparsityReport(rows=rows, others=others, other_parameters=numbers)


def _rows(model: nn.Module, reasons: dict[str, str]) -> Iterator[WeightSparsity]:
    for name, layer in weighted_layers(model).items():
        weight = layer.weight.detach()
        zeros = int((weight == 0).sum())
        pruned = zeros and (name not in reasons or mask_on(layer) is not None)
        yield WeightSparsity(
            name=name,
            shape=tuple(weight.shape),
            zeros=zeros,
            two_of_four=_is_two_of_four(weight.transpose(0, 1) if _transposed(layer) else weight),
            left_out="" if pruned else reasons.get(name, "nothing removed"),
        )


def _transposed(layer: nn.Module) -> bool:
    return isinstance(layer, TRANSPOSED)


def _is_two_of_four(weight: Tensor) -> bool:
    """Whether runs along the second axis hold at most two weights that are not zero."""
    inputs = weight.movedim(1, -1)
    return inputs.shape[-1] % 4 == 0 and bool(((inputs.reshape(-1, 4) != 0).sum(1) <= 2).all())


def _cells(row: WeightSparsity) -> tuple[str, ...]:
    return (
        row.name.removesuffix(".weight"),
        "×".join(str(size) for size in row.shape),
        f"{row.weights:,}",
        f"{row.zeros:,}",
        f"{row.sparsity:.1%}",
        "yes" if row.two_of_four else "",
        row.left_out,
    )
