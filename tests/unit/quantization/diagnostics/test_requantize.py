import copy
import math

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small

from torchedge import exporting
from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization import FakeQuantize, calibrate, minmax, prepare_qat
from torchedge.quantization.diagnostics import dequantized, requantize, sqnr
from torchedge.quantization.diagnostics.requantize import _transfer
from torchedge.quantization.learned import learn_step_sizes

CPU, JETSON = exporting.target("onnx-cpu").scheme, exporting.target("jetson").scheme


def node_names(model, scheme):
    prepared = prepare_qat(model, scheme, (torch.zeros(1, 3, 32, 32),))
    return [(node.name, str(node.target)) for node in prepared.graph.nodes], prepared


def test_the_float_network_computes_what_the_original_did(net, model, images):
    restored = dequantized(model)
    with torch.no_grad():
        # Unfolded again, batch norms are computed as before: the same operations.
        assert torch.equal(restored.eval()(images), net(images))
    assert not any(isinstance(module, FakeQuantize) for module in restored.modules())


def test_what_was_trained_after_preparing_is_in_the_float_network(model, images):
    with torch.no_grad():
        model.project.layer.bias += 1
        model.depthwise.batchnorm.running_mean += 1
    off = copy.deepcopy(model).eval()
    for module in off.modules():
        if hasattr(module, "enabled"):
            module.enabled = False
    with torch.no_grad():
        torch.testing.assert_close(
            dequantized(model).eval()(images), off(images), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("scheme", [CPU, JETSON], ids=["onnx-cpu", "jetson"])
def test_names_survive_the_round_trip(net, images, scheme):
    prepared = prepare_qat(net, scheme, (images[:1],))
    again = prepare_qat(dequantized(prepared), scheme, (images[:1],))
    assert list(again.state_dict()) == list(prepared.state_dict())
    assert [n.name for n in again.graph.nodes] == [n.name for n in prepared.graph.nodes]


def test_names_survive_the_round_trip_of_a_real_network():
    names, prepared = node_names(mobilenet_v3_small(weights=None).eval(), CPU)
    again, _ = node_names(dequantized(prepared), CPU)
    assert again == names


def test_a_layer_that_is_called_twice_is_one_layer_again(twice, images):
    restored = dequantized(twice)
    assert isinstance(restored.get_submodule("shared"), nn.Conv2d)
    assert sum(str(node.target) == "shared" for node in restored.graph.nodes) == 2


def test_on_its_own_scheme_a_model_comes_back_bit_by_bit(model, images):
    moved = requantize(model, CPU, images.split(8))
    assert moved.sqnr_db == math.inf
    assert moved.agreement == 1
    assert moved.calibrated == ()


def test_on_another_scheme_it_is_the_float_network_prepared_with_the_same_ranges(
    net, model, images
):
    moved = requantize(model, JETSON, images.split(8), rule=minmax)
    # The maximum hands on values of relu_1, and flattening those of pool.
    sources = {"x": "x", "stem_2": "stem_2", "relu": "relu", "max_pool2d": "relu_1"}
    sources["flatten"] = "pool"
    assert {name.removeprefix("quantizers.") for name in moved.transferred} == set(sources)
    assert moved.calibrated == ()
    by_hand = calibrate(prepare_qat(net, JETSON, (images[:1],)), images.split(8), minmax)
    for name, source in sources.items():
        theirs = model.get_submodule(f"quantizers.{source}")
        by_hand.get_submodule(f"quantizers.{name}").set_range(theirs.low, theirs.high)
    with torch.no_grad():
        expected, found = by_hand.eval()(images), moved.model.eval()(images)
        assert torch.equal(found, expected)
        assert moved.sqnr_db == pytest.approx(sqnr(model.eval()(images), found), abs=0.05)
        assert moved.float_sqnr_db == pytest.approx(sqnr(net(images), found), abs=0.05)
        same = (found.argmax(1) == model(images).argmax(1)).float().mean()
        assert moved.agreement == pytest.approx(float(same))


def test_back_from_a_scheme_with_fewer_quantisers_the_others_are_calibrated(net, images):
    model = calibrate(prepare_qat(net, JETSON, (images[:1],)), images.split(8), minmax)
    moved = requantize(model, CPU, images.split(8), rule=minmax)
    expected = calibrate(prepare_qat(net, CPU, (images[:1],)), images.split(8), minmax)
    assert moved.calibrated
    for name in moved.calibrated:
        theirs, ours = expected.get_submodule(name), moved.model.get_submodule(name)
        assert (ours.low, ours.high) == (theirs.low, theirs.high)


def test_ranges_that_were_trained_are_kept_and_not_calibrated_anew(model, images):
    model.quantizers.stem_2.set_range(torch.tensor(0.0), torch.tensor(123.0))
    moved = requantize(model, JETSON, images.split(8))
    assert float(moved.model.quantizers.stem_2.high) == 123


def test_a_learned_scale_is_handed_on_as_the_range_that_it_covers(model, images):
    learned = learn_step_sizes(model)
    with torch.no_grad():
        learned.quantizers.x.log_scale_change.fill_(math.log(0.5))
    moved = requantize(learned, JETSON, images.split(8))
    assert float(moved.model.quantizers.x.high) == pytest.approx(0.5, abs=0.01)


def test_a_range_that_was_never_set_is_chosen_from_the_batches(net, images):
    prepared = prepare_qat(net, CPU, (images[:1],))
    prepared = calibrate(prepared, [images], minmax)
    prepared.quantizers.relu.low.fill_(math.inf)
    prepared.quantizers.relu.high.fill_(-math.inf)
    prepared.quantizers.relu.enabled = False
    moved = requantize(prepared, CPU, [images], rule=minmax)
    assert moved.calibrated == ("quantizers.relu",)
    assert moved.model.quantizers.relu.calibrated


def test_a_shared_quantiser_covers_all_the_ranges_that_it_replaces(images):
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
            self.last = nn.Conv2d(4, 1, 1)

        def forward(self, x):
            return self.last(torch.cat([self.left(x), self.right(x)], 1))

    shared = prepare_qat(Joined(), CPU, (images[:1],))
    for node in shared.graph.nodes:
        if str(node.target) in {"quantizers.right", "quantizers.cat"}:
            node.target = "quantizers.left"
    ranges = {"left": (-1.0, 1.0), "right": (-3.0, 2.0), "cat": (-2.0, 1.5)}
    as_tensors = {n: (torch.tensor(low), torch.tensor(high)) for n, (low, high) in ranges.items()}
    assert _transfer(as_tensors, shared) == ["quantizers.left"]
    assert (float(shared.quantizers.left.low), float(shared.quantizers.left.high)) == (-3, 2)
    del as_tensors["right"]
    assert _transfer(as_tensors, shared) == []


def test_the_mode_and_the_old_model_stay_as_they_were(model, images):
    model.train()
    before = copy.deepcopy(model.state_dict())
    moved = requantize(model, JETSON, [images])
    assert model.training
    assert moved.model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_outputs_without_classes_have_no_agreement(twice, images):
    assert requantize(twice, JETSON, [images]).agreement is None


def test_what_cannot_be_requantised_is_refused(net, model, images):
    with pytest.raises(SchemeError, match="nothing to undo"):
        requantize(net, CPU, [images])
    with pytest.raises(CalibrationError, match="at least one batch"):
        requantize(model, CPU, [])
