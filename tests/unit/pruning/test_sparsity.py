"""What the report counts, and what it says of everything that was left out."""

import pytest
import torch
from torch import nn

from tests.unit.pruning.masked_networks import convolutional
from torchedge.errors import PruningError
from torchedge.pruning import NOfM, Unstructured, bake_masks, mask_weights, weight_masks
from torchedge.pruning.sparsity import sparsity_report


def rows(report):
    return {row.name: row for row in report.rows}


def test_zeros_are_counted_layer_by_layer_with_masks_and_baked():
    net = convolutional()
    masks = weight_masks(net, 0.5, pattern=Unstructured(least_kept=0.1))
    masked = mask_weights(net, masks)
    for model in (masked, bake_masks(masked)):
        report = sparsity_report(model)
        found = {name: row.zeros for name, row in rows(report).items()}
        assert found == {n: int((~m).sum()) for n, m in masks.items()} | {"8.weight": 0}
        assert report.pruned_sparsity == 372 / 744
        assert report.sparsity == 372 / 780
    assert rows(report)["0.weight"].sparsity == int((~masks["0.weight"]).sum()) / 72


def test_the_report_says_why_each_parameter_was_left_out():
    net = convolutional()
    masked = mask_weights(net, weight_masks(net, 0.5, leave_out=["3"], pattern=NOfM(2, 4)))
    report = sparsity_report(masked, leave_out=["3"], pattern=NOfM(2, 4))
    assert {name: row.left_out for name, row in rows(report).items()} == {
        "0.weight": "fan-in 1, no multiple of 4",
        "3.weight": "left out by name: '3'",
        "5.weight": "",
        "8.weight": "the last layer",
    }
    text = str(report)
    assert "left out by name: '3'" in text
    assert text.endswith("Left out besides: 3 × a bias, 2 × a norm; 39 numbers.")
    assert text.startswith("24.6% of 780 weights are zero, 50.0% where they were pruned")


def test_a_network_that_nobody_pruned_says_so():
    assert rows(sparsity_report(convolutional()))["3.weight"].left_out == "nothing removed"


def test_two_of_four_is_recognised_along_the_inputs():
    net = convolutional()
    pattern = NOfM(2, 4)
    found = rows(sparsity_report(mask_weights(net, weight_masks(net, 0.5, pattern=pattern))))
    assert [name for name, row in found.items() if row.two_of_four] == ["3.weight", "5.weight"]
    wrong = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    mask = torch.tensor([True, True, True, False, True, False, False, False]).repeat(4, 1)
    found = rows(sparsity_report(mask_weights(wrong, {"0.weight": mask})))
    assert found["0.weight"].sparsity == 0.5
    assert not found["0.weight"].two_of_four


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(PruningError, match="layers to leave out are for another network"):
        sparsity_report(convolutional(), leave_out=["stem"])


def test_a_layer_that_was_left_out_keeps_its_reason_though_a_weight_happens_to_be_zero():
    net = convolutional()
    with torch.no_grad():
        net[8].weight[0, 0] = 0
    report = sparsity_report(mask_weights(net, weight_masks(net, 0.5)))
    assert rows(report)["8.weight"].left_out == "the last layer"
    assert rows(report)["8.weight"].zeros == 1
    assert report.pruned_sparsity == 372 / 744


def test_a_layer_with_a_mask_was_pruned_whatever_the_report_was_asked():
    net = convolutional()
    masked = mask_weights(net, weight_masks(net, 0.5, last_layer=True))
    assert rows(sparsity_report(masked))["8.weight"].left_out == ""
