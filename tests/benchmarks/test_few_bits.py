"""The parts of the benchmark that its figures depend on: the same start, the same work."""

import pytest
import torch

from benchmarks.quantized.few_bits import CONTESTANTS
from benchmarks.quantized.few_bits_networks import FLOAT_LAYERS, NETWORKS, copied_state
from torchedge.data import Digits


@pytest.fixture(scope="module")
def few_digits():
    digits = Digits()
    digits.train_images, digits.train_labels = digits.train_images[:64], digits.train_labels[:64]
    return digits


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("contestant", ["fixed scales", "learn_step_sizes"])
def test_at_eight_bits_every_contestant_computes_the_float_network(name, contestant, few_digits):
    torch.manual_seed(0)
    start = NETWORKS[name](FLOAT_LAYERS).train()
    start(few_digits.train_images)  # statistics as those of a trained network
    start.eval()
    made = CONTESTANTS[contestant](name, start, 8, 8, few_digits).eval()
    images = few_digits.test_images[:50]
    with torch.no_grad():
        expected = start(images)
        noise = (made(images) - expected).square().mean()
        # Rounding to 1 / 255 of a range costs some 50 dB; ten tensors, weights and all, 20 more.
        assert noise < 1e-3 * expected.square().mean()


def test_another_toolkits_layers_get_every_weight():
    source, other = (NETWORKS["residual"](FLOAT_LAYERS) for _ in range(2))
    copied_state(source, other)
    for name, value in source.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    with pytest.raises(ValueError, match="no place"):
        copied_state(torch.nn.Sequential(*source, torch.nn.Linear(10, 10)), other)
