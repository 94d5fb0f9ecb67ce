"""Properties of recovery on networks that nobody chose."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.quantization.generated_networks import networks
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization.recovery import equalize, quantize


def moved(changed, network, x):
    """Largest change of an output, in units of the largest output; computed in float64."""
    with torch.no_grad():
        expected = network.double()(x.double())
        found = changed.double()(x.double())
    network.float()
    return float((found - expected).abs().max() / expected.abs().max())


def noise_db(model, network, x):
    with torch.no_grad():
        exact = network(x)
        return float(10 * torch.log10((model(x) - exact).square().sum() / exact.square().sum()))


@settings(max_examples=40)
@given(drawn=networks(), with_data=st.booleans())
def test_an_equalised_network_computes_the_same_on_images_that_it_was_not_shown(drawn, with_data):
    network, x = drawn.network(), drawn.images(16)
    equalized = equalize(network, (x[:2],), batches=x.split(8) if with_data else None)
    # Weights are rounded to float32 once, some ten layers in a row.
    assert moved(equalized, network, drawn.images(16, seed=1)) < 1e-5


@pytest.mark.filterwarnings("ignore:the range clips:UserWarning")
@settings(max_examples=8)
@given(drawn=networks(), samples=st.sampled_from([8, 24]))
def test_more_effort_never_costs_more_than_half_a_decibel_on_unseen_images(drawn, samples):
    network, unseen = drawn.network(), drawn.images(256, seed=1)
    batches = drawn.images(samples).split(8)
    fast, balanced = (
        noise_db(quantize(network, ONNX_RUNTIME, batches, effort=effort), network, unseen)
        for effort in ("fast", "balanced")
    )
    assert balanced <= fast + 0.5
