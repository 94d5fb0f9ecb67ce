import copy

import pytest
import pytorch_lightning as pl
import torch
import torch.utils._pytree as pytree
from torch import nn

from tests.unit.graph.networks import (
    DIFFERENT_IN_TRAINING,
    FOLLOWED,
    REFUSED,
    Frozen,
    NormActs,
    ReadWeight,
    Recurrent,
    X,
    spectrally_normed,
)
from torchedge.errors import SchemeError, TraceError, WeightError
from torchedge.graph.copies import copied
from torchedge.graph.guard import tensors_in_output
from torchedge.quantization import QuantizedLayer, QuantScheme, prepare_qat
from torchedge.quantization.modules import without_quantization
from torchedge.quantization.operations import kind_of


class Around(pl.LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


class OwnLayers(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


# Folding a batch norm and a constant rounds each weight once more: a few units of 2⁻²⁴ a layer.
_ROUNDING = 1e-5


def _outputs(model, inputs, *, training):
    ran = copied(model).train(training)  # as it is, hooks and all
    torch.manual_seed(5)
    return [t.detach() for t in tensors_in_output(ran(*(x.clone() for x in inputs)))]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", FOLLOWED)
def test_a_prepared_network_computes_what_the_network_computes_in_both_modes(name, training):
    make, inputs = FOLLOWED[name]
    torch.manual_seed(0)
    net = make()
    prepared = without_quantization(prepare_qat(net, QuantScheme(), inputs))
    wanted = _outputs(net, inputs, training=training)
    found = _outputs(prepared, inputs, training=training)
    assert len(wanted) == len(found) > 0
    for w, f in zip(wanted, found, strict=True):
        assert (w - f).abs().max() <= _ROUNDING * w.abs().max()


@pytest.mark.parametrize("name", DIFFERENT_IN_TRAINING)
def test_what_changes_in_training_is_refused_from_a_network_in_training_mode(name):
    with pytest.raises(TraceError, match="computes something else in training mode"):
        prepare_qat(DIFFERENT_IN_TRAINING[name](), QuantScheme(), X)


@pytest.mark.parametrize("name", DIFFERENT_IN_TRAINING)
def test_what_changes_in_training_is_prepared_for_evaluation_and_never_trains(name):
    net = DIFFERENT_IN_TRAINING[name]().eval()
    prepared = prepare_qat(net, QuantScheme(), X)
    off = without_quantization(prepared)
    assert torch.allclose(off(*X), net(*X), atol=1e-6)
    for model in (prepared, copy.deepcopy(prepared)):
        with pytest.raises(TraceError, match="for evaluation only"):
            model.train()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("training", [False, True])
def test_what_no_graph_can_hold_is_refused_by_name(name, training):
    make, text = REFUSED[name]
    with pytest.raises((TraceError, SchemeError)) as refused:
        prepare_qat(make().train(training), QuantScheme(), X)
    assert text in str(refused.value)


def test_a_refusal_names_the_parts_that_can_be_passed_and_the_line_of_the_call():
    with pytest.raises(SchemeError) as refused:
        prepare_qat(Recurrent(), QuantScheme(), X)
    assert "What can be passed by itself: 'body'" in str(refused.value)
    assert "networks.py:" in str(refused.value)


@pytest.mark.parametrize("make", [NormActs, Frozen])
def test_norms_with_an_activation_and_frozen_norms_fold_into_their_layers(make):
    prepared = prepare_qat(make(), QuantScheme(), X)
    kinds = {kind_of(node, prepared) for node in prepared.graph.nodes}
    assert kinds == {"input", "quantizer", "conv", "activation", "output"}


def test_a_norm_with_an_activation_moves_its_statistics_in_training():
    net = NormActs()
    prepared = prepare_qat(net, QuantScheme(), X)
    off = without_quantization(prepared).train()
    for model in (net.train(), off):
        model(*X)
    layers = [m for m in off.modules() if isinstance(m, QuantizedLayer)]
    for layer, norm in zip(layers, (net.a, net.b), strict=True):
        assert layer.batchnorm.num_batches_tracked == norm.num_batches_tracked == 1
        assert torch.allclose(layer.batchnorm.running_mean, norm.running_mean, rtol=1e-5)
        assert torch.allclose(layer.batchnorm.running_var, norm.running_var, rtol=1e-5)


def test_a_weight_that_is_read_elsewhere_is_trained_as_one_parameter():
    prepared = prepare_qat(ReadWeight(), QuantScheme(), X)
    assert prepared.first_weight is prepared.get_submodule("first").layer.weight


def test_a_hook_that_only_looks_on_is_warned_about():
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    net[0].register_forward_hook(lambda module, inputs, output: None)
    with pytest.warns(UserWarning, match="of Conv2d changes nothing and is left out"):
        prepare_qat(net, QuantScheme(), X)


def test_a_hook_of_the_backward_pass_is_refused():
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    net[0].register_full_backward_hook(lambda module, given, returned: None)
    with pytest.raises(TraceError, match="Conv2d '0' has the hook"):
        prepare_qat(net, QuantScheme(), X)


def test_the_users_network_is_as_it_was():
    net = nn.DataParallel(NormActs())
    before = copy.deepcopy(net.state_dict())
    prepare_qat(net, QuantScheme(), X)
    assert net.training
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())


def test_wrong_inputs_are_refused_before_anything_is_traced():
    net = nn.Sequential(nn.Conv2d(4, 4, 1))
    for inputs, text in (
        ([[1.0]], "tuple of tensors"),
        ((torch.rand(2, 3, 8, 8),), "does not run on the example inputs"),
        ((), "tuple of tensors"),
    ):
        with pytest.raises(TraceError, match=text):
            prepare_qat(net, QuantScheme(), inputs)


def test_a_weight_that_a_hook_computes_is_trained_through_it():
    net = nn.Sequential(spectrally_normed(nn.Conv2d(4, 4, 1)), nn.ReLU())
    prepared = prepare_qat(net, QuantScheme(), X).train()
    layer = prepared.get_submodule("0").layer
    before = layer.weight.clone()
    prepared(*X).sum().backward()
    torch.optim.SGD(prepared.parameters(), 1.0).step()
    prepared(*X)
    assert layer.weight_orig.grad.abs().max() > 0
    assert not torch.equal(layer.weight, before)
    assert copy.deepcopy(prepared)(*X).shape == (2, 4, 8, 8)


def test_a_lightning_module_around_a_network_is_refused_with_the_attribute():
    with pytest.raises(TraceError, match=r"around the network 'net'; pass that attribute"):
        prepare_qat(Around(nn.Conv2d(4, 4, 1)), QuantScheme(), X)


def test_a_lightning_module_with_layers_of_its_own_is_prepared():
    net = OwnLayers()
    off = without_quantization(prepare_qat(net, QuantScheme(), X))
    assert torch.allclose(off(*X), net(*X), atol=1e-6)


def test_half_precision_is_refused_with_the_call_that_helps():
    with pytest.raises(WeightError, match=r"'0.weight' is float16.*model.float\(\)"):
        prepare_qat(nn.Sequential(nn.Conv2d(4, 4, 1)).half(), QuantScheme(), X)


def test_exported_and_scripted_modules_are_refused_instead_of_left_in_float():
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()).eval()
    exported = torch.export.export(net, X)
    for model, text in (
        (exported.module(), "is an exported program"),
        (exported, "this is a ExportedProgram"),
        ("model.pt", "this is a str"),
    ):
        with pytest.raises(TraceError, match=text):
            prepare_qat(model, QuantScheme(), X)


def test_a_layer_of_whose_weights_only_functions_know_is_refused():
    class Multiplied(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.rand(8, 8))

        def forward(self, x):
            return x @ self.matrix

    with pytest.raises(SchemeError, match="nothing of the model would be quantised: 'matrix'"):
        prepare_qat(Multiplied(), QuantScheme(), X)


def test_torch_is_as_it_was_after_a_trace():
    zeros, call = torch.zeros, nn.Module.__call__
    prepare_qat(FOLLOWED["sizes"][0](), QuantScheme(), X)
    assert (torch.zeros, nn.Module.__call__) == (zeros, call)
    assert "len" not in FOLLOWED["sizes"][0].forward.__globals__


def test_structured_outputs_keep_their_structure():
    net = FOLLOWED["named_outputs"][0]()
    answer = prepare_qat(net, QuantScheme(), X)(*X)
    assert list(answer) == ["out", "aux"]
    assert all(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(answer))
