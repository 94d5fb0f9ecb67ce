"""What ``python -m benchmarks.pruning`` shows, on the networks that take a second."""

import pytest

from benchmarks.peers.torch_pruning import pruned_by_torch_pruning
from benchmarks.pruned.coverage import examined, flops
from benchmarks.pruned.networks import UNet, network, pictures

pytest.importorskip("torch_pruning")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "grouped", "small_vit", "shufflenet_v2_x1_0"])
def test_with_half_of_the_arithmetic_a_network_trains_and_is_the_same_in_onnx_runtime(name):
    row = examined(name)
    assert 0.475 <= row.macs <= 0.525
    assert row.trains == 1
    assert 0 < row.onnx_difference <= 1e-4
    # Grouped convolutions lose whole groups here and channels of each group there.
    no_answer = name in {"grouped", "small_vit", "shufflenet_v2_x1_0"}
    assert row.same_as_torch_pruning == (-1 if no_answer else 1)


def test_the_peer_is_pruned_to_the_cost_that_is_asked_for():
    model, image = UNet(16).eval(), pictures("unet")[:1]
    pruned = pruned_by_torch_pruning(model, image, 0.5, round_to=None, cost=flops)
    assert flops(pruned, image) / flops(model, image) == pytest.approx(0.5, abs=0.05)


def test_flops_are_counted_by_hand_for_a_convolution_and_an_attention():
    model, image = network("small_vit"), pictures("small_vit")[:1]
    tokens, width, hidden = 65, 128, 512
    block = tokens * width * (4 * width + 2 * hidden) + 2 * tokens * tokens * width
    macs = 64 * width * 3 * 8 * 8 + 4 * block + width * 10
    assert flops(model, image) == 2 * macs
