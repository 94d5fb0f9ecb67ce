"""Pictures of pruning, drawn on figures of their own: no window and no global state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from torch import nn

from torchedge.bench.session import Array
from torchedge.errors import PruningError
from torchedge.figures import BLUE, RED, new_figure
from torchedge.pruning.mask_checks import require_same_names
from torchedge.pruning.selection import weighted_layers
from torchedge.text import for_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TicketCurve", "tickets_figure", "weights_figure"]

_GREY = "0.72"
_COLOURS = (BLUE, RED, "#e0a030", "#6a9f58")
_BARS = 60
_COLUMNS = 3
_PANELS = 12


@final
@dataclass(frozen=True, kw_only=True)
class TicketCurve:
    """Accuracies of networks with fewer and fewer weights, for several seeds.

    Args:
        weights_left: Share of the weights in (0, 1], one for each point.
        accuracies: In [0, 1], a row for each seed and a column for each point.

    Raises:
        PruningError: A row has another length.
    """

    weights_left: Sequence[float]
    accuracies: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        wrong = [len(row) for row in self.accuracies if len(row) != len(self.weights_left)]
        if wrong or not self.accuracies:
            raise PruningError(
                f"a curve of {len(self.weights_left)} points has rows of {wrong or 'no'} "
                "accuracies; give one for each point and seed."
            )


def tickets_figure(curves: Mapping[str, TicketCurve]) -> "Figure":
    """Accuracy over weights left: means as lines, one standard deviation over seeds as bands.

    Args:
        curves: By what they show, usually the ticket and its two controls.

    Example:
        >>> curve = TicketCurve(weights_left=[1.0, 0.5], accuracies=[[0.9, 0.92], [0.91, 0.9]])
        >>> [line.get_label() for line in tickets_figure({"ticket": curve}).axes[0].lines]
        ['ticket']
    """
    figure = new_figure(7.5, 4.5)
    axes = figure.add_subplot()
    for place, (label, curve) in enumerate(curves.items()):
        _draw(axes, label, curve, _COLOURS[place % len(_COLOURS)])
    shares = sorted({share for curve in curves.values() for share in curve.weights_left})
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks = [share for share in (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if share >= shares[0] * 0.8]
    axes.set_xticks(ticks, [f"{share:.0%}" for share in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    axes.set_xlabel("weights left")
    axes.set_ylabel("accuracy; band: standard deviation over seeds")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def _draw(axes: "Axes", label: str, curve: TicketCurve, colour: str) -> None:
    order = np.argsort(curve.weights_left)[::-1]
    shares, rows = np.asarray(curve.weights_left)[order], np.asarray(curve.accuracies)[:, order]
    mean, spread = rows.mean(0), rows.std(0, ddof=1) if len(rows) > 1 else np.zeros(len(shares))
    axes.plot(
        shares,
        mean,
        color=colour,
        marker="o",
        markersize=4,
        linewidth=1.3,
        label=for_picture(label),
    )
    axes.fill_between(shares, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def weights_figure(before: nn.Module, after: nn.Module) -> "Figure":
    """Histograms of each layer's weights before (grey) and after (blue); zeros are counted apart.

    Of networks with more than twelve convolutions and linear layers, the twelve that lost the most
    weights are drawn.

    Raises:
        PruningError: The networks have different layers.

    Example:
        >>> len(weights_figure(nn.Linear(4, 4), nn.Linear(4, 4)).axes)
        1
    """
    old, new = (_weights(model) for model in (before, after))
    require_same_names(list(new), list(old), "the two networks differ: the second is")
    sparsest = set(sorted(new, key=lambda name: -int((new[name] == 0).sum()))[:_PANELS])
    names = [name for name in new if name in sparsest]
    lines = -(-len(names) // _COLUMNS)
    figure = new_figure(11, 0.5 + 2.3 * lines)
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(lines, min(_COLUMNS, len(names)), place)
        _panel(axes, name.removesuffix(".weight"), old[name], new[name])
    figure.supylabel("weights but zeros, logarithmic; grey before, blue after", fontsize=9)
    return figure


def _weights(model: nn.Module) -> dict[str, Array]:
    layers = weighted_layers(model).items()
    return {n: layer.weight.detach().float().cpu().numpy().ravel() for n, layer in layers}


def _panel(axes: "Axes", name: str, before: Array, after: Array) -> None:
    edges = np.histogram_bin_edges(np.concatenate([before, after]), _BARS)
    for values, colour in ((before, _GREY), (after, BLUE)):
        counts = np.histogram(values[values != 0], edges)[0]
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_ylim(bottom=0.5)
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    zeros = int((after == 0).sum())
    axes.set_title(
        f"{for_picture(name)}\n{zeros:,} of {after.size:,} are zero", fontsize=8, loc="left"
    )
