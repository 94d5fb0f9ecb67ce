"""What the pictures show, read from their axes."""

import ast
import inspect

import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.pruning.masked_networks import linear
from torchedge.errors import PruningError
from torchedge.pruning import bake_masks, mask_weights, plots, weight_masks
from torchedge.pruning.plots import TicketCurve, tickets_figure, weights_figure


def test_curves_are_means_with_a_standard_deviation_from_many_weights_to_few():
    curve = TicketCurve(weights_left=[0.2, 1.0], accuracies=[[0.8, 0.9], [0.9, 0.94]])
    axes = tickets_figure({"ticket": curve, "random": curve}).axes[0]
    first, second = axes.lines
    assert (first.get_label(), second.get_label()) == ("ticket", "random")
    assert first.get_color() != second.get_color()
    assert list(first.get_xdata()) == [1.0, 0.2]
    assert list(first.get_ydata()) == pytest.approx([0.92, 0.85])
    band = axes.collections[0].get_paths()[0].vertices
    spread = np.std([0.8, 0.9], ddof=1)
    assert band[:, 1].max() == pytest.approx(0.92 + np.std([0.9, 0.94], ddof=1))
    assert band[:, 1].min() == pytest.approx(0.85 - spread)
    left, right = axes.get_xlim()
    assert left > right


def test_one_seed_has_no_spread():
    curve = TicketCurve(weights_left=[1.0, 0.5], accuracies=[[0.9, 0.8]])
    band = tickets_figure({"ticket": curve}).axes[0].collections[0].get_paths()[0].vertices
    assert set(np.round(band[:, 1], 9)) == {0.9, 0.8}


@pytest.mark.parametrize("rows", [[], [[0.9]], [[0.9, 0.8], [0.9]]])
def test_a_curve_with_rows_of_another_length_is_refused(rows):
    with pytest.raises(PruningError, match="a curve of 2 points has rows of"):
        TicketCurve(weights_left=[1.0, 0.5], accuracies=rows)


def test_histograms_hold_the_weights_that_are_not_zero_before_and_after():
    net = linear()
    pruned = bake_masks(mask_weights(net, weight_masks(net, 0.5)))
    figure = weights_figure(net, pruned)
    assert len(figure.axes) == 3
    for axes, name in zip(figure.axes, ("1", "3", "4"), strict=True):
        before, after = (patch.get_data().values.sum() for patch in axes.patches)
        weight = pruned.get_parameter(f"{name}.weight")
        assert before == weight.numel()
        assert after == int((weight != 0).sum())
        assert axes.get_title("left").startswith(f"{name}\n{weight.numel() - after:,} of")


def test_of_many_layers_those_that_lost_the_most_are_drawn(monkeypatch):
    monkeypatch.setattr(plots, "_PANELS", 2)
    net = linear()
    pruned = mask_weights(net, {"1.weight": torch.rand(16, 36) < 0.5})
    titles = [axes.get_title("left") for axes in weights_figure(net, pruned).axes]
    assert len(titles) == 2
    assert titles[0].startswith("1\n")


def test_two_different_networks_are_refused():
    with pytest.raises(PruningError, match="the two networks differ"):
        weights_figure(linear(), nn.Sequential(nn.Linear(2, 2)))


def test_no_figure_is_kept_by_pyplot():
    tree = ast.parse(inspect.getsource(plots))
    imports = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert not [name for name in imports if "pyplot" in name]
