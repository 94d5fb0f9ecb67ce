"""An analysis as text: a table for the terminal, Markdown for a report, values for programs."""

import io
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torchedge.text import cell, for_markdown

if TYPE_CHECKING:
    from torchedge.quantization.diagnostics.analyse import Analysis, TensorAnalysis

__all__ = ["decibels", "markdown", "plain", "share_text", "table_text"]

_COLUMNS = ("tensor", "bits", "accumulated dB", "alone dB", "range", "seen", "clipped", "dead")
_WORST_IN_MARKDOWN = 10
_WIDTH = 120


def decibels(value: float) -> str:
    """``38.1``, or ``∞`` where nothing is lost.

    Example:
        >>> decibels(38.14), decibels(math.inf)
        ('38.1', '∞')
    """
    return f"{value:.1f}" if math.isfinite(value) else str(value).replace("inf", "∞")


def share_text(share: float) -> str:
    """A share in percent, down to a ten-thousandth.

    Example:
        >>> share_text(0.0123), share_text(1e-7)
        ('1.23%', '< 0.01%')
    """
    return f"{share:.2%}" if share >= 5e-5 else "< 0.01%"


def _cells(row: "TensorAnalysis") -> tuple[str, ...]:
    return (
        row.label,
        "float" if row.bits is None else str(row.bits),
        decibels(row.accumulated_sqnr_db),
        decibels(row.local_sqnr_db),
        "" if row.chosen_range is None else _interval(row.chosen_range),
        _interval(row.observed_range),
        share_text(row.clipped_share) if row.clipped_share else "",
        f"{row.dead_channels} of {row.channels}" if row.dead_channels else "",
    )


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} … {ends[1]:.3g}"


def table_text(analysis: "Analysis", rows: "tuple[TensorAnalysis, ...]") -> str:
    """The rows as a table of characters, with the output's SQNR above it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=_title(analysis), title_justify="left")
    for column in _COLUMNS:
        left = column == "tensor"
        table.add_column(column, justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        table.add_row(*map(cell, _cells(row)))
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
    console.print(table)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _title(analysis: "Analysis") -> str:
    return (
        f"SQNR of the output: {decibels(analysis.output_sqnr_db)} dB, "
        f"{analysis.samples:,} samples, {len(analysis.rows)} tensors"
    )


def markdown(analysis: "Analysis") -> str:
    """The ten worst tensors as Markdown, for a report.

    Args:
        analysis: From :func:`~torchedge.quantization.diagnostics.analyse`.
    """
    worst = analysis.ordered("worst")[:_WORST_IN_MARKDOWN]
    rules = ("---", *["---:"] * (len(_COLUMNS) - 1))
    rows = (_COLUMNS, rules, *(tuple(map(for_markdown, _cells(row))) for row in worst))
    lines = [f"{_title(analysis)}. The {len(worst)} that lose most, alone:", ""]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += [
        "",
        "`accumulated`: against the float network, with all quantisation before it. `alone`: only "
        "these weights, or only this activation (→), on integers. 6 dB are one bit.",
    ]
    return "\n".join(lines) + "\n"


def plain(analysis: "Analysis") -> dict[str, Any]:
    """Values for JSON: no histograms, and ``null`` for an infinite SQNR (nothing is lost)."""
    return {
        "output_sqnr_db": _finite(analysis.output_sqnr_db),
        "samples": analysis.samples,
        "tensors": [_plain_row(row) for row in analysis.rows],
    }


def _plain_row(row: "TensorAnalysis") -> dict[str, Any]:
    names = [field.name for field in fields(row) if field.name != "histogram"]
    values = {name: getattr(row, name) for name in names}
    return {n: _finite(v) if isinstance(v, float) else v for n, v in values.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
