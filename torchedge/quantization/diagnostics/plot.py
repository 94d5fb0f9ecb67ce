"""Pictures of an analysis, drawn on figures of their own: no window and no global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from torchedge.bench.session import Array
from torchedge.figures import BLUE, RED, new_figure
from torchedge.quantization.calibration import Histogram
from torchedge.quantization.diagnostics.render import decibels, share_text
from torchedge.text import for_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from torchedge.quantization.diagnostics.analyse import Analysis, TensorAnalysis

__all__ = ["histogram_figure", "save_pictures", "sqnr_figure"]

_DOTS_PER_INCH = 110
_BARS = 96
_COLUMNS = 3
_PANELS = 12
_ROWS_ON_A_PAGE = 160
_BLACK = "#222222"
_LEAST_DB, _MOST_DB = -20.0, 80.0  # beyond: no signal left, and less than float's own rounding
_LONGEST_LABEL = 42


def save_pictures(analysis: "Analysis", folder: Path) -> tuple[Path, ...]:
    """Write ``sqnr.png``, ``weights.png`` and ``activations.png``.

    Networks of more than 160 tensors get several pages, ``sqnr-2.png`` and so on; of the
    histograms, the twelve with the smallest local SQNR are drawn.
    """
    figures = {}
    for page, start in enumerate(range(0, len(analysis.rows), _ROWS_ON_A_PAGE), 1):
        name = "sqnr.png" if page == 1 else f"sqnr-{page}.png"
        figures[name] = sqnr_figure(analysis.rows[start : start + _ROWS_ON_A_PAGE])
    worst = analysis.ordered("worst")
    for kind, name in (("weights", "weights.png"), ("activation", "activations.png")):
        rows = [row for row in worst if row.kind == kind][:_PANELS]
        if rows:
            figures[name] = histogram_figure(rows)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=_DOTS_PER_INCH)
    return tuple(folder / name for name in figures)


def sqnr_figure(rows: "Sequence[TensorAnalysis]") -> "Figure":
    """Accumulated and local SQNR from the input (top) to the output (bottom)."""
    figure = new_figure(9, 1.6 + 0.19 * len(rows))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    curves = (
        ("alone", BLUE, [row.local_sqnr_db for row in rows]),
        ("accumulated", RED, [row.accumulated_sqnr_db for row in rows]),
    )
    for label, colour, values in curves:
        drawn = np.clip(values, _LEAST_DB, _MOST_DB)
        axes.plot(drawn, places, color=colour, marker="o", markersize=3.5, linewidth=1, label=label)
    axes.set_yticks(places, [_short(row.label) for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"SQNR in dB, at most {_MOST_DB:.0f} drawn; 6 dB are one bit")
    axes.grid(axis="x", color="0.85")
    axes.grid(axis="y", color="0.94")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure


def histogram_figure(rows: "Sequence[TensorAnalysis]") -> "Figure":
    """Histograms on a logarithmic scale, with the chosen range and what it cuts off."""
    lines = -(-len(rows) // _COLUMNS)
    figure = new_figure(11, 0.5 + 2.3 * lines)
    for place, row in enumerate(rows, 1):
        _panel(figure.add_subplot(lines, _COLUMNS, place), row)
    figure.supylabel("values, logarithmic", fontsize=9)
    return figure


def _panel(axes: "Axes", row: "TensorAnalysis") -> None:
    edges, counts = bars(row.histogram)
    low, high = row.chosen_range or row.observed_range
    outside = (row.clipped_share > 0) & ((edges[1:] <= low) | (edges[:-1] >= high))
    for colour, part in ((BLUE, ~outside), (RED, outside)):
        axes.stairs(np.where(part, counts, 0), edges, fill=True, color=colour)
    for end in row.chosen_range or ():
        axes.axvline(end, color=_BLACK, linewidth=1.2, linestyle="--")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.set_ylim(bottom=0.5)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_panel_title(row), fontsize=8, loc="left")


def _panel_title(row: "TensorAnalysis") -> str:
    width = "float" if row.bits is None else f"{row.bits} bits"
    facts = [f"{decibels(row.local_sqnr_db)} dB alone", width]
    facts += [f"{share_text(row.clipped_share)} clipped"] if row.clipped_share else []
    facts += [f"{row.dead_channels}/{row.channels} dead"] if row.dead_channels else []
    return f"{_short(row.label)}\n{', '.join(facts)}"


def bars(histogram: Histogram) -> tuple[Array, Array]:
    """The occupied part of a histogram in at most 97 bars: edges, and counts."""
    if histogram.bin_width == 0:
        return np.array([-0.5, 0.5]), histogram.counts.sum().view(1).numpy()
    filled = histogram.counts.nonzero().flatten()
    first, last = int(filled[0]), int(filled[-1]) + 1
    each = -(-(last - first) // _BARS)
    counts = histogram.counts[first:last]
    counts = torch.nn.functional.pad(counts, (0, -len(counts) % each)).view(-1, each).sum(1)
    places = first - histogram.bins_below_zero + each * np.arange(len(counts) + 1)
    return places * histogram.bin_width, counts.numpy()


def _short(label: str) -> str:
    cut = label if len(label) <= _LONGEST_LABEL else f"…{label[1 - _LONGEST_LABEL :]}"
    return for_picture(cut)
