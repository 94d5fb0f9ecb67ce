import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.pruning.networks import Written, conv, head, made
from torchedge import exporting
from torchedge.errors import PruningError, TraceError
from torchedge.pruning import Limits, channel_groups, prune_by, prune_to, remove_channels, settling
from torchedge.quantization import prepare_qat

IMAGE = torch.zeros(1, 3, 8, 8)


class Reshaping(nn.Linear):
    """A layer that is one node of a graph, with a number inside that nothing can reach."""

    traced_whole = True

    def forward(self, x):
        return super().forward(x).view(-1, 16)


def hidden_number():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 8), Reshaping(8, 16), nn.ReLU(), nn.Linear(16, 3)
    ).eval()


def test_a_choice_that_cannot_run_is_refused_by_the_name_of_the_module():
    words = (
        r"of '2', '_2' in '2' \(.*test_guard.* fails \(shape '\[-1, 16\]' is invalid.*leave_out="
    )
    with pytest.raises(PruningError, match=words):
        prune_by(hidden_number(), (IMAGE,), 0.5)
    pruned = prune_by(hidden_number(), (IMAGE,), {"1": 0.25}, limits=Limits(multiple=2))
    assert pruned[1].out_features == 6


def test_a_number_that_is_written_wrongly_is_noticed(monkeypatch):
    model, x = made("reshaped")
    keep = {channel_groups(model, (x,))[0]: [0, 1, 2]}
    monkeypatch.setattr(settling, "set_numbers", lambda *_: None)
    with pytest.raises(PruningError, match=r"'view' in the model itself \(.* fails .*\('stem',\)"):
        remove_channels(model, keep)


def test_channels_that_are_mistaken_for_others_are_noticed(monkeypatch):
    """Of a cut the shape is right, and what is in it is not."""

    def forward(net, x):
        return net.head(torch.relu(net.stem(x))[:, 4:8])

    model = Written(forward, stem=conv(3, 12), head=head(4)).eval()
    x = torch.randn(1, 3, 8, 8)
    keep = {channel_groups(model, (x,))[0]: range(2, 12)}
    expected = model(x)
    torch.testing.assert_close(remove_channels(model, keep)(x), expected)
    monkeypatch.setattr(settling.Settling, "_fits", lambda *_: True)
    monkeypatch.setattr(settling.Settling, "_write", lambda *_: False)
    with pytest.raises(PruningError, match=r"'getitem' in the model itself \(.* differs by"):
        remove_channels(model, keep)


def test_a_network_that_trains_on_two_samples_is_tried_with_two():
    layers = conv(3, 16), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(16), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(16, 3)).train()
    pruned = prune_by(model, (IMAGE,), 0.5)
    assert pruned.training
    assert pruned[0].out_channels == 8
    assert pruned[2].num_batches_tracked == 0  # what was tried was a copy


class Trains(nn.Module):
    """Its code in training has a number that evaluation does not see."""

    def __init__(self):
        super().__init__()
        self.stem, self.last = conv(3, 16), head(16)

    def forward(self, x):
        x = self.stem(x)
        return self.last(x * torch.ones(16, 1, 1) if self.training else x)


def test_a_network_that_no_longer_trains_is_refused():
    with pytest.raises(PruningError, match="does not run in training mode: 'the model itself'"):
        prune_by(Trains().eval(), (IMAGE,), 0.5)


class Noisy(nn.Module):
    """A dropout in code, whose trace is of evaluation, before a number that has to change."""

    def __init__(self):
        super().__init__()
        self.stem, self.last = conv(3, 16), nn.Linear(16 * 64, 3)

    def forward(self, x):
        x = F.dropout(self.stem(x), 0.5, self.training)
        return self.last(x.view(-1, 16 * 64))


def test_dropout_in_code_is_on_in_training_also_in_the_graph():
    x = torch.randn(2, 3, 8, 8)
    pruned = prune_by(Noisy().eval(), (x,), 0.5)
    assert torch.equal(pruned(x), pruned(x))
    pruned.train()
    assert not torch.equal(pruned(x), pruned(x))


def test_modes_of_single_modules_are_kept():
    model, x = made("reshaped")
    model.norm = nn.Identity()
    model.train()
    model.stem.eval()
    groups = channel_groups(model, (x,))
    pruned = remove_channels(model, {groups[0]: [0, 1, 2]})
    assert not pruned.stem.training
    assert pruned.first.training


def test_a_network_on_integers_is_refused_in_one_line():
    scheme = exporting.target("onnx-cpu").scheme
    model = prepare_qat(nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 3)).eval(), scheme, (IMAGE,))
    with pytest.raises(PruningError, match=r"'0' is a quantised .*prune the float network"):
        prune_to(model, (IMAGE,), macs=0.5)


def test_one_tensor_is_a_network_with_one_input():
    model, x = made("plain")
    names = [[group.name for group in channel_groups(model, given)] for given in (x, (x,))]
    assert names[0] == names[1]


@pytest.mark.parametrize("inputs", [(), (IMAGE, 1.0), None])
def test_inputs_that_are_no_tensors_are_refused(inputs):
    model, _ = made("plain")
    with pytest.raises(TraceError, match="example_inputs is"):
        channel_groups(model, inputs)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_what_is_wrapped_is_pruned(wrap):
    model, x = made("plain")
    pruned = prune_by(wrap(model), (x,), 0.5, limits=Limits(multiple=2))
    assert type(pruned) is nn.Sequential
    assert pruned[0].out_channels == 4


def test_a_softmax_or_a_maximum_over_channels_keeps_them():
    for reduce in (
        lambda y: y.softmax(1),
        lambda y: y * y.amax(1, keepdim=True),
        lambda y: y - y.mean(1, keepdim=True),
    ):
        model = Written(
            lambda net, x, f=reduce: net.head(f(net.stem(x))), stem=conv(3, 8), head=head(8)
        )
        (stem, _) = channel_groups(model.eval(), (IMAGE,))
        assert "taken over its channels" in stem.reason


def test_the_original_is_as_it_was_also_after_a_refusal():
    model = hidden_number()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PruningError):
        prune_by(model, (IMAGE,), 0.5)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
