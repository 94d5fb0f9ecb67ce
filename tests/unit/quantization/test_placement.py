"""Where quantisers sit, and which of them share a scale."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.quantization.networks import NETWORKS, DenseLayer, trained, with_head
from torchedge.backends import CORE_ML, ONNX_RUNTIME, TENSORRT, TFLITE
from torchedge.quantization import calibrate, freeze, minmax, prepare_qat
from torchedge.quantization.operations import kind_of

IMAGE = (torch.zeros(1, 3, 8, 8),)
SAME_CONCAT = replace(
    ONNX_RUNTIME,
    placement=replace(ONNX_RUNTIME.placement, same_scale=frozenset({"concat"})),
)


class Convolutions(nn.Module):
    """Three convolutions on the same image, joined by a function of the test."""

    def __init__(self, join):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.last, self.wide = nn.Conv2d(4, 2, 1), nn.Conv2d(8, 2, 1)
        self.join = join

    def forward(self, x):
        return self.join(self, x)


def prepared(join, scheme=ONNX_RUNTIME):
    return prepare_qat(Convolutions(join), scheme, IMAGE)


def groups(model):
    """For each tensor with a quantiser the name of the quantiser."""
    return {
        node.args[0].name: node.target.removeprefix("quantizers.")
        for node in model.graph.nodes
        if node.op == "call_module" and str(node.target).startswith("quantizers.")
    }


def share(model, *names):
    return len({groups(model)[name] for name in names}) == 1


def relu_concat(self, x):
    return self.wide(torch.cat([F.relu(self.a(x)), F.relu6(self.b(x))], 1))


def mixed_concat(self, x):
    return self.wide(torch.cat([F.relu(self.a(x)), self.b(x)], 1))


def test_a_concatenation_of_relus_has_one_scale():
    model = prepared(relu_concat)
    assert share(model, "relu", "relu6", "cat")


def test_a_mixed_concatenation_shares_its_scale_only_where_the_backend_does():
    """On a grid with negative numbers a ReLU keeps its convolution in float."""
    model = prepared(mixed_concat)
    assert len({groups(model)[name] for name in ("relu", "b", "cat")}) == 3
    assert share(prepared(mixed_concat, SAME_CONCAT), "relu", "b", "cat")
    assert share(prepared(mixed_concat, TFLITE), "relu", "b", "cat")


def test_chained_concatenations_of_relus_have_one_scale_for_all():
    def chain(self, x):
        first = torch.cat([F.relu(self.a(x))[:, :2], F.relu(self.b(x))[:, :2]], 1)
        return self.wide(torch.cat([first, F.max_pool2d(F.relu(self.a(x)), 3, 1, 1)], 1))

    assert len(set(groups(prepared(chain)).values()) - {"x", "wide"}) == 1


@pytest.mark.parametrize(
    "select",
    [
        lambda y: y[:, :, 1:],
        lambda y: F.pad(y, (1, 1, 1, 1), mode="reflect"),
        lambda y: F.interpolate(y, scale_factor=2),
        lambda y: torch.flip(y, (3,)),
        lambda y: F.max_pool2d(F.pad(y, (0, 1, 0, 1)), 2),
    ],
    ids=["slice", "reflect", "nearest", "flip", "pad"],
)
def test_what_selects_values_keeps_their_scale(select):
    model = prepared(lambda self, x: self.last(select(F.relu(self.a(x)))))
    between = {name: group for name, group in groups(model).items() if name not in {"x", "last"}}
    assert len(between) == 2
    assert set(between.values()) == {"relu"}


@pytest.mark.parametrize(
    "keep",
    [
        lambda y: F.max_pool2d(y, 2),
        lambda y: y.permute(0, 1, 3, 2).contiguous(),
        lambda y: F.dropout(y).view(y.shape),
        lambda y: F.pad(y, (0, 1, 0, 1)),
    ],
    ids=["max_pool", "permute", "dropout", "pad_of_a_convolution"],
)
def test_what_runtimes_carry_integers_through_gets_no_quantiser(keep):
    model = prepared(lambda self, x: self.last(keep(F.relu(self.a(x)))))
    assert set(groups(model)) == {"x", "relu", "last"}


def detector(self, x):
    return torch.cat([64 * self.a(x).flatten(2), self.b(x).flatten(2).sigmoid()], 1)


@pytest.mark.parametrize("scheme", [ONNX_RUNTIME, TENSORRT, TFLITE, SAME_CONCAT])
def test_boxes_and_scores_joined_for_the_output_never_share_a_scale(scheme):
    found = groups(prepared(detector, scheme))
    assert "cat" not in found
    assert found.get("a", "a") != found.get("b", "b")


def test_fixed_ranges_are_neither_observed_nor_calibrated():
    def bounded(self, x):
        return self.last(torch.tanh(self.a(x)) * torch.sigmoid(self.b(x)))

    model = prepared(bounded, TFLITE).train()
    model(torch.randn(2, 3, 8, 8))
    model = calibrate(model, [torch.randn(2, 3, 8, 8)], minmax)
    ranges = {name: (float(q.low), float(q.high)) for name, q in model.quantizers.named_children()}
    assert ranges["tanh"] == (-1.0, 127 / 128)
    assert ranges["sigmoid"] == (0.0, 255 / 256)
    assert float(model.quantizers.sigmoid.scale) == 1 / 256
    assert int(model.quantizers.sigmoid.zero_point) == -128


def test_tensorrt_quantises_the_inputs_of_layers_and_the_skip_only():
    def residual(self, x):
        y = F.relu(self.a(x))
        return self.last(F.relu(y + self.b(x))).mean((2, 3))

    assert set(groups(prepared(residual, TENSORRT))) == {"x", "relu", "relu_1", "last"}


def test_tensorrt_quantises_a_concatenation_and_not_what_it_joins():
    assert set(groups(prepared(mixed_concat, TENSORRT))) == {"x", "cat"}


def test_core_ml_quantises_only_what_layers_read():
    assert set(groups(prepared(relu_concat, CORE_ML))) == {"x", "cat"}


@pytest.mark.parametrize(
    "scheme", [TENSORRT, TFLITE, CORE_ML], ids=["tensorrt", "tflite", "coreml"]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_frozen_for_every_backend(name, scheme):
    make, shape = NETWORKS[name]
    inputs = torch.randn(shape)
    live = prepare_qat(trained(make(), inputs), scheme, (inputs[:1],)).eval()
    live = calibrate(live, [inputs], minmax)
    with torch.no_grad():
        expected, found = live(inputs), freeze(live)(inputs)
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (expected, found)), strict=True):
        # Sums in another order may move values by a step: one in a thousand is allowed to.
        different = (a - b).abs() > 1e-5 * a.abs().max()
        assert float(different.float().mean()) <= 1e-3


def test_sums_in_place_are_quantised_as_others_are():
    def in_place(self, x):
        y = F.relu_(self.a(x))
        y += self.b(x)
        return self.last(F.relu(y, inplace=True))

    assert set(groups(prepared(in_place))) == {"x", "relu_", "b", "relu", "last"}


def test_a_weighted_sum_stays_float_between_quantised_neighbours():
    model = prepared(lambda self, x: self.last(torch.add(self.a(x), self.b(x), alpha=2)))
    assert set(groups(model)) == {"x", "a", "b", "add", "last"}
    add = next(node for node in model.graph.nodes if node.name == "add")
    assert kind_of(add, model) == "float"


def test_a_dense_block_shares_nothing_where_batch_norms_read_it():
    """What a batch norm in float reads needs no grid."""
    model = prepare_qat(with_head(DenseLayer(8, 4), channels=12), ONNX_RUNTIME, IMAGE)
    assert "cat" in groups(model)  # the average pool reads it
    assert not share(model, "_0_2", "cat")
