import copy
import json
import math
import weakref

import pytest
import torch
from torch import nn

from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization import (
    FakeQuantize,
    QuantizedLayer,
    calibrate,
    minmax,
    prepare_qat,
)
from torchedge.quantization.diagnostics import analyse, markdown, sqnr
from torchedge.quantization.diagnostics.render import decibels, plain
from torchedge.quantization.learned import learn_step_sizes
from torchedge.scheme import QuantScheme


def quantized_parts(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, FakeQuantize | QuantizedLayer)}


def results(model, images, *, on):
    """Outputs of every quantiser and layer, by hooks, with only those in ``on`` enabled."""
    copied = copy.deepcopy(model).eval()
    found = {}
    for name, module in quantized_parts(copied).items():
        module.enabled = name in on
        module.register_forward_hook(
            lambda _, x, y, name=name: found.setdefault(name, []).append(y.detach().clone())
        )
    with torch.no_grad():
        output = copied(images)
    return found, output


def test_every_figure_is_that_of_whole_networks_run_with_hooks(model, images):
    parts = quantized_parts(model)
    in_float, float_output = results(model, images, on=())
    quantized, output = results(model, images, on=parts)
    analysis = analyse(model, images.split(5))
    assert [row.name for row in analysis.rows] == list(in_float)
    assert analysis.output_sqnr_db == pytest.approx(sqnr(float_output, output), abs=1e-3)
    for row in analysis.rows:
        alone, _ = results(model, images, on={row.name})
        reference = in_float[row.name][0]
        # Other batch sizes may add in another order: 2^-24 of the values against noise of 2^-8.
        accumulated = sqnr(reference, quantized[row.name][0])
        assert row.accumulated_sqnr_db == pytest.approx(accumulated, abs=0.05), row.name
        local = sqnr(reference, alone[row.name][0])
        assert row.local_sqnr_db == pytest.approx(local, abs=0.05), row.name


def test_a_layer_that_is_called_twice_has_two_rows(twice, images):
    analysis = analyse(twice, images.split(8))
    in_float, outputs = results(twice, images, on=())
    quantized, found = results(twice, images, on=quantized_parts(twice))
    rows = [row for row in analysis.rows if row.name == "shared"]
    assert [row.tensor for row in rows] == ["shared", "shared_1"]
    for call, row in enumerate(rows):
        expected = sqnr(in_float["shared"][call], quantized["shared"][call])
        assert row.accumulated_sqnr_db == pytest.approx(expected, abs=0.05)
    both = sqnr(torch.cat([t.flatten() for t in outputs]), torch.cat([t.flatten() for t in found]))
    assert analysis.output_sqnr_db == pytest.approx(both, abs=0.05)


def test_the_model_is_left_as_it_was(model, images):
    before = copy.deepcopy(model.state_dict())
    expected = analyse(model.eval(), [images])
    found = analyse(model.train(), [images])
    assert model.training
    assert [r.local_sqnr_db for r in found.rows] == [r.local_sqnr_db for r in expected.rows]
    assert all(module.enabled for module in quantized_parts(model).values())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_ranges_extremes_and_clipping_are_those_of_the_tensors(model, images):
    quantizer = model.quantizers.x
    quantizer.set_range(torch.tensor(0.0), torch.tensor(0.5))
    row = analyse(model, images.split(8)).rows[0]
    scale = float(quantizer.scale)
    assert row.tensor == "x"
    assert row.observed_range == (float(images.min()), float(images.max()))
    assert row.chosen_range == pytest.approx((0.0, 0.5), abs=scale)
    beyond = (images > row.chosen_range[1] + scale / 2).float().mean()
    assert row.clipped_share == pytest.approx(float(beyond), abs=1 / images.numel())
    assert int(row.histogram.counts.sum()) == images.numel()


def test_weights_have_their_own_extremes_bits_and_channels(model, images):
    rows = {row.label: row for row in analyse(model, [images]).rows}
    weight = model.depthwise.folded()[0].detach()
    row = rows["depthwise"]
    assert (row.kind, row.bits, row.channels) == ("weights", 8, 8)
    assert row.observed_range == (float(weight.min()), float(weight.max()))
    assert row.chosen_range[1] == pytest.approx(float(weight.abs().max()), rel=1e-6)
    assert row.clipped_share == 0


def test_channels_that_are_zero_are_counted_in_weights_and_activations(images, scheme):
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1))
    with torch.no_grad():
        net[0].weight[:2] = 0
        net[0].bias[:3] = -9.0
        net[0].bias[3:] = 9.0
    model = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)
    rows = {row.label: row for row in analyse(model, images.split(8)).rows}
    assert (rows["0"].dead_channels, rows["0"].channels) == (2, 6)
    assert (rows["→ _1"].dead_channels, rows["→ _1"].channels) == (3, 6)


def test_a_channel_that_lives_in_any_batch_is_alive(images, scheme):
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    batches = [images, -images]
    model = calibrate(prepare_qat(net, scheme, (images[:1],)), batches, minmax)
    dead = {row.label: row.dead_channels for row in analyse(model, batches).rows}
    assert dead["→ _1"] == 0
    assert analyse(model, batches[:1]).rows[2].dead_channels == 1


def test_channels_of_sequences_are_on_the_last_axis(scheme):
    x = torch.rand(4, 7, 3)
    x[..., 1] = 0
    model = calibrate(prepare_qat(nn.Sequential(nn.Linear(3, 5)), scheme, (x,)), [x], minmax)
    row = analyse(model, [x]).rows[0]
    assert (row.channels, row.dead_channels) == (3, 1)


def test_channels_of_a_grouped_transposed_convolution_are_its_outputs(images, scheme):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 6, 2, groups=2))
    with torch.no_grad():
        net[1].weight[:2, 0] = 0  # first group, first of its three outputs
    model = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)
    row = next(row for row in analyse(model, [images]).rows if row.name == "1")
    assert (row.channels, row.dead_channels) == (6, 1)


def test_what_was_left_in_float_says_so_and_loses_nothing(model, images):
    model.project.enabled = False
    row = next(row for row in analyse(model, [images]).rows if row.name == "project")
    assert row.bits is None
    assert row.chosen_range is None
    assert row.local_sqnr_db == math.inf
    assert row.accumulated_sqnr_db < 100


def test_learned_steps_are_analysed_with_the_ranges_that_they_cover(model, images):
    learned = learn_step_sizes(model)
    with torch.no_grad():
        learned.quantizers.x.log_scale_change.fill_(math.log(0.5))
    row = analyse(learned, [images]).rows[0]
    assert row.chosen_range[1] == pytest.approx(0.5, abs=0.01)
    assert row.clipped_share > 0.4


def test_batches_are_forgotten_one_by_one(model, images):
    seen = []

    def batches():
        for _ in range(4):
            batch = images.clone()
            seen.append(weakref.ref(batch))
            yield batch
            del batch
            assert all(earlier() is None for earlier in seen[:-1])

    assert analyse(model, batches()).samples == 4 * len(images)


def test_what_cannot_be_analysed_is_refused(net, model, images, scheme):
    with pytest.raises(SchemeError, match="prepare_qat"):
        analyse(net, [images])
    with pytest.raises(CalibrationError, match="at least one batch"):
        analyse(model, [])
    with pytest.raises(CalibrationError, match=r"batch 1 of shape \(2, 3, 16, 16\).*stem"):
        analyse(model, [images, torch.rand(2, 3, 16, 16)])
    with pytest.raises(CalibrationError, match="has seen no data"):
        analyse(prepare_qat(net, scheme, (images[:1],)), [images])


def test_the_worst_come_first_where_asked(model, images):
    analysis = analyse(model, [images])
    worst = analysis.ordered("worst")
    assert sorted(row.local_sqnr_db for row in analysis.rows) == [r.local_sqnr_db for r in worst]
    lines = analysis.table("worst", rows=1).splitlines()
    assert worst[0].label in lines[-1]
    assert decibels(worst[0].local_sqnr_db) in lines[-1]
    assert decibels(analysis.output_sqnr_db) in lines[0]


def test_table_markdown_and_json_show_the_same_figures(model, images):
    analysis = analyse(model, [images])
    text, table = markdown(analysis), analysis.table()
    values = json.loads(json.dumps(plain(analysis), allow_nan=False))
    assert [tensor["tensor"] for tensor in values["tensors"]] == [r.tensor for r in analysis.rows]
    for row in analysis.ordered("worst")[:10]:
        assert f"| {row.label} | 8 | {decibels(row.accumulated_sqnr_db)} |" in text
    assert all(row.label in table for row in analysis.rows)
    assert values["output_sqnr_db"] == analysis.output_sqnr_db


def test_nothing_lost_is_null_in_json_and_infinite_in_text(images):
    model = calibrate(
        prepare_qat(nn.Sequential(nn.Conv2d(1, 1, 1)), QuantScheme(), (images[:1],)), [images]
    )
    for module in quantized_parts(model).values():
        module.enabled = False
    analysis = analyse(model, [images])
    assert plain(analysis)["output_sqnr_db"] is None
    assert "∞ dB" in markdown(analysis)
