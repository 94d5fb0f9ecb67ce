"""Which weights are pruned by default, and that the others say why not."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.unit.pruning.masked_networks import convolutional
from torchedge.backends import ONNX_RUNTIME
from torchedge.errors import PruningError
from torchedge.pruning import NOfM, mask_weights, weight_masks
from torchedge.pruning.patterns import select_for
from torchedge.pruning.selection import plain_name, select_weights
from torchedge.pruning.sparsity import sparsity_report
from torchedge.quantization import prepare_qat


def test_biases_norms_and_the_last_layer_are_left_out_and_said_so():
    chosen = select_weights(convolutional())
    assert chosen.weights == ("0.weight", "3.weight", "5.weight")
    assert chosen.left_out == {
        "0.bias": "a bias",
        "1.weight": "a norm",
        "1.bias": "a norm",
        "5.bias": "a bias",
        "8.weight": "the last layer",
        "8.bias": "a bias",
    }


def test_the_last_layer_is_pruned_when_asked():
    assert "8.weight" in select_weights(convolutional(), last_layer=True).weights


def test_when_the_last_layer_is_left_out_by_name_no_other_is():
    chosen = select_weights(convolutional(), leave_out=["8"])
    assert chosen.left_out["8.weight"] == "left out by name: '8'"
    assert chosen.weights == ("0.weight", "3.weight", "5.weight")


def test_layers_are_left_out_by_name_by_a_module_around_them_and_by_type():
    net = nn.ModuleDict({"features": convolutional()[:5], "head": nn.Linear(4, 4)})
    left = select_weights(net, leave_out=["features.0"], last_layer=True).left_out
    assert left["features.0.weight"] == "left out by name: 'features.0'"
    left = select_weights(net, leave_out=["features"], last_layer=True).left_out
    assert {"features.0.weight", "features.3.weight"} <= left.keys()
    left = select_weights(net, leave_out=[nn.Conv2d], last_layer=True).left_out
    assert left["features.3.weight"] == "left out by type: Conv2d"


def test_a_name_that_begins_like_another_is_another():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)))
    assert "10.weight" in select_weights(net, leave_out=["1"]).weights


def test_a_weight_that_two_layers_share_is_left_out():
    """A mask on the one would not be seen by the other."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = net[0].weight
    chosen = select_weights(net)
    assert chosen.weights == ("2.weight",)
    assert chosen.left_out["0.weight"] == "shared by several layers"


def test_a_layer_that_is_called_twice_is_pruned_once():
    layer = nn.Linear(4, 4)
    assert select_weights(nn.Sequential(layer, layer, nn.Linear(4, 2))).weights == ("0.weight",)


def test_parameters_of_other_layers_are_left_out_with_their_type():
    net = nn.Sequential(nn.Embedding(4, 4), nn.PReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    left = select_weights(net).left_out
    assert (left["0.weight"], left["1.weight"]) == ("of a Embedding", "of a PReLU")


def test_names_are_the_plain_ones_with_masks_too():
    net = convolutional()
    assert select_weights(mask_weights(net, weight_masks(net, 0.5))) == select_weights(net)


def test_the_layers_of_a_prepared_network_are_found():
    prepared = prepare_qat(convolutional(), ONNX_RUNTIME, (torch.zeros(2, 1, 6, 6),))
    chosen = select_weights(prepared)
    assert [name.split(".")[0] for name in chosen.weights] == ["0", "3", "5"]
    assert chosen.left_out["8.layer.weight"] == "the last layer"


def test_a_pattern_leaves_out_the_layers_that_it_does_not_fit():
    chosen = select_for(NOfM(2, 4), convolutional())
    assert chosen.weights == ("3.weight", "5.weight")
    assert chosen.left_out["0.weight"] == "fan-in 1, no multiple of 4"


def test_runs_do_not_reach_over_groups():
    net = nn.Sequential(nn.Conv2d(8, 8, 1, groups=4), nn.Linear(8, 8), nn.Linear(8, 8))
    assert select_for(NOfM(2, 4), net).weights == ("1.weight",)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(PruningError, match=r"layers to leave out .* \('stem'\); this one has"):
        select_weights(convolutional(), leave_out=["stem"])


@pytest.mark.parametrize("net", [nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3)), nn.ReLU()])
def test_a_network_with_nothing_to_prune_is_refused(net):
    with pytest.raises(PruningError, match="no weight is left to prune: "):
        select_weights(net)


def test_a_pattern_that_fits_no_layer_is_refused():
    net = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    with pytest.raises(PruningError, match=r"NOfM\(n=2, m=4\) fits no layer: '0\.weight' has"):
        weight_masks(net, 0.5, pattern=NOfM(2, 4))


def test_a_weight_that_is_parametrised_already_is_left_out_and_said_so():
    net = nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4), nn.Linear(4, 2))
    chosen = select_weights(net)
    assert chosen.weights == ("1.weight",)
    assert chosen.left_out["0.weight"] == "parametrised already"
    assert list(weight_masks(net, 0.5)) == ["1.weight"]
    rows = {row.name: row.left_out for row in sparsity_report(net).rows}
    assert rows["0.weight"] == "parametrised already"


def test_a_last_layer_that_is_parametrised_is_still_the_last():
    net = nn.Sequential(nn.Linear(4, 4), weight_norm(nn.Linear(4, 2)))
    assert select_weights(net).weights == ("0.weight",)


@pytest.mark.parametrize(
    "name", ["original", "0.original", "0.weight.original", "parametrizations_of.original"]
)
def test_a_parameter_of_the_users_own_keeps_its_name(name):
    assert plain_name(name) == name
