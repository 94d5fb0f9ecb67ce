import ast
import inspect

import numpy as np
import pytest
import torch

from torchedge.quantization.calibration import observe
from torchedge.quantization.diagnostics import analyse, plot
from torchedge.quantization.diagnostics.plot import bars, histogram_figure, sqnr_figure


def test_both_curves_go_through_every_tensor_in_order(model, images):
    rows = analyse(model, [images]).rows
    axes = sqnr_figure(rows).axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    for label, name in (("alone", "local_sqnr_db"), ("accumulated", "accumulated_sqnr_db")):
        expected = [min(getattr(row, name), 80) for row in rows]
        assert list(curves[label].get_xdata()) == pytest.approx(expected)
    assert [text.get_text() for text in axes.get_yticklabels()] == [row.label for row in rows]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the input is at the top


def test_histograms_mark_the_chosen_range_and_paint_what_it_cuts_off(model, images):
    model.quantizers.x.set_range(torch.tensor(0.0), torch.tensor(0.5))
    row = analyse(model, [images]).rows[0]
    axes = histogram_figure([row]).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx(row.chosen_range)
    kept, cut = (patch.get_data() for patch in axes.patches)
    middles = (cut.edges[:-1] + cut.edges[1:]) / 2
    assert (middles[cut.values > 0] > 0.5).all()
    assert kept.values.sum() + cut.values.sum() == images.numel()
    assert cut.values.sum() / images.numel() == pytest.approx(row.clipped_share, abs=0.02)
    assert "clipped" in axes.get_title("left")


@pytest.mark.parametrize("low", [-3.0, 0.0, 2.0])
def test_bars_hold_every_value_of_a_histogram(low):
    x = low + torch.rand(5000)
    edges, counts = bars(observe(None, x))
    assert len(counts) <= 97
    assert counts.sum() == 5000
    width = edges[1] - edges[0]
    # The counts of numpy over the same edges; values on an edge may fall on either side.
    assert np.abs(counts - np.histogram(x.double().numpy(), edges)[0]).sum() <= 4
    assert edges[0] <= x.min() + 1e-6
    assert edges[-1] >= x.max() - 1e-6
    assert width > 0


def test_a_tensor_of_zeros_has_one_bar():
    edges, counts = bars(observe(None, torch.zeros(3)))
    assert (list(edges), list(counts)) == ([-0.5, 0.5], [3])


def test_saving_writes_pictures_and_texts(model, images, tmp_path):
    files = analyse(model, [images]).save(tmp_path / "new" / "folder")
    names = {file.name for file in files}
    pictures = {"sqnr.png", "weights.png", "activations.png"}
    assert names == pictures | {"analysis.json", "analysis.md"}
    assert all(file.is_file() for file in files)
    for name in pictures:
        assert (tmp_path / "new/folder" / name).read_bytes().startswith(b"\x89PNG")


def test_long_networks_get_several_pages(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "_ROWS_ON_A_PAGE", 8)
    analysis = analyse(model, [images])
    pages = {f.name for f in plot.save_pictures(analysis, tmp_path) if f.name.startswith("sqnr")}
    assert len(pages) == -(-len(analysis.rows) // 8) > 1


def test_no_figure_is_kept_by_pyplot():
    tree = ast.parse(inspect.getsource(plot))
    imports = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert not [name for name in imports if "pyplot" in name]
