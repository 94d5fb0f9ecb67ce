import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization import (
    FakeQuantize,
    QuantizedLayer,
    calibrate,
    minmax,
    prepare_qat,
)
from torchedge.quantization.diagnostics import sensitivity, sqnr, with_bits
from torchedge.quantization.learned import learn_step_sizes
from torchedge.quantization.scale_source import input_scale_source


def all_off(model):
    copied = copy.deepcopy(model).eval()
    for module in copied.modules():
        if isinstance(module, FakeQuantize | QuantizedLayer):
            module.enabled = False
    return copied


def one_layer_on_integers(model, name, bits):
    """The whole network, with hooks: the slow way, which knows nothing of branching off."""
    trial = all_off(with_bits(model, {name: bits}))
    layer = trial.get_submodule(name)
    layer.enabled = True
    calls = [node for node in trial.graph.nodes if node.target == name]
    quantizers = [copy.deepcopy(input_scale_source(node, trial)) for node in calls]
    for quantizer in quantizers:
        quantizer.enabled = True
    in_turn = itertools.cycle(quantizers)
    layer.register_forward_pre_hook(lambda _, x: next(in_turn)(x[0]))
    return trial


def flat(output):
    tensors = output if isinstance(output, tuple) else (output,)
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("which", ["model", "twice"])
def test_it_is_what_whole_networks_with_one_quantised_layer_lose(which, request, images):
    model = request.getfixturevalue(which)
    rows = sensitivity(model, images.split(8), bits=(8, 3))
    layers = [name for name, m in model.named_modules() if isinstance(m, QuantizedLayer)]
    assert [(row.layer, row.bits) for row in rows] == [(n, b) for n in layers for b in (8, 3)]
    with torch.no_grad():
        expected = flat(all_off(model)(images))
        for row in rows:
            found = flat(one_layer_on_integers(model, row.layer, row.bits)(images))
            # Other batch sizes may add in another order; see test_analyse.
            assert row.sqnr_db == pytest.approx(sqnr(expected, found), abs=0.05), row
            assert row.error == pytest.approx(10 ** (-row.sqnr_db / 10))


def test_fewer_bits_lose_more_and_float_loses_nothing(model, images):
    by_layer = {}
    for row in sensitivity(model, [images], bits=(32, 8, 4, 2)):
        by_layer.setdefault(row.layer, []).append(row)
    for rows in by_layer.values():
        assert rows[0].error == 0
        assert rows[0].sqnr_db == math.inf
        assert [row.error for row in rows] == sorted(row.error for row in rows)


def test_the_activation_that_a_layer_reads_is_part_of_its_trial(model, images):
    before = {row.layer: row.error for row in sensitivity(model, [images], bits=(8,))}
    model.quantizers.x.set_range(torch.tensor(0.0), torch.tensor(0.3))
    after = {row.layer: row.error for row in sensitivity(model, [images], bits=(8,))}
    changed = {layer for layer, error in after.items() if error != before[layer]}
    assert changed == {"stem.0"}
    assert after["stem.0"] > 10 * before["stem.0"]


def test_a_loss_gets_the_labels_and_says_how_much_it_grew(model, images):
    labels = torch.arange(32) % 4
    batches = [(images[:8], labels[:8]), (images[8:], labels[8:])]
    rows = sensitivity(model, batches, metric=F.cross_entropy, bits=(3,))
    with torch.no_grad():
        base = F.cross_entropy(all_off(model)(images), labels)
        for row in rows:
            trial = one_layer_on_integers(model, row.layer, 3)
            growth = float(F.cross_entropy(trial(images), labels) - base)
            # Float32 losses near 1.4 have an error of 2^-23 for each of a few operations.
            assert row.error == pytest.approx(growth, abs=2e-6), row.layer


def test_macs_are_those_of_the_formula(images, scheme):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
        nn.Flatten(),
        nn.Linear(2 * 16 * 16, 5),
    )
    model = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)
    rows = sensitivity(model, images.split(16), bits=(8,))
    expected = {
        "0": 8 * 8 * 1 * 4 * 9,
        "1": 8 * 8 * 1 * 4 * 9,
        "2": 8 * 8 * 4 * 2 * 4,
        "4": 512 * 5,
    }
    assert {row.layer: row.macs for row in rows} == expected
    assert {row.layer: row.weights for row in rows} == {"0": 36, "1": 36, "2": 32, "4": 2560}
    assert {row.input_bits for row in rows} == {8}


def test_a_layer_that_is_called_twice_counts_the_macs_of_both_calls(twice, images):
    rows = {row.layer: row.macs for row in sensitivity(twice, [images], bits=(8,))}
    assert rows["shared"] == 2 * 16 * 16 * 4 * 4 * 9


def test_scales_chosen_for_other_bits_are_not_used(model, images):
    expected = sensitivity(model, [images], bits=(4,))
    learned = learn_step_sizes(model)
    assert [row.error for row in sensitivity(learned, [images], bits=(4,))] == pytest.approx(
        [row.error for row in expected]
    )
    with torch.no_grad():
        learned.classifier.start_share.mul_(3)
    kept = {r.layer: r.error for r in sensitivity(learned, [images], bits=(8,))}
    assert kept["classifier"] > sensitivity(model, [images], bits=(8,))[-1].error


def test_the_model_is_left_as_it_was(model, images):
    with torch.no_grad():
        expected = model.eval()(images)
        sensitivity(model, [images])
        assert torch.equal(model(images), expected)


def test_what_cannot_be_measured_is_refused(net, model, images):
    with pytest.raises(SchemeError, match="prepare_qat"):
        sensitivity(net, [images])
    with pytest.raises(CalibrationError, match="at least one batch"):
        sensitivity(model, [])
    with pytest.raises(SchemeError, match=r"'stem.0' cannot have weights of 16 bits"):
        sensitivity(model, [images], bits=(16,))
