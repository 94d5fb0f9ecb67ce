"""Networks trained after ``prepare_qat``: held against the one before where that is plain."""

import numpy as np
import torch
from torch import nn

from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.quantization import calibrate, minmax, prepare_qat

SCHEME = exporting.target("onnx-cpu").scheme


def points():
    """Two classes that a line parts, and a network of one layer that is trained on them."""
    x = torch.randn(128, 2, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > x[:, 1]).long()


def trained(net, x, y, steps):
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net


def saved(module, x, folder):
    artifact = CompressedModel(
        module=module, example_inputs=(x[:1],), samples=(x,), scheme=SCHEME
    ).save(folder)
    return artifact, load_samples(artifact.file(SAMPLES_FILE)).float_answers


def prepared(net, x):
    return calibrate(prepare_qat(net, SCHEME, (x[:1],)), [x], minmax)


def test_a_trained_network_that_is_trained_on_with_integers_is_its_float_network(tmp_path):
    x, y = points()
    net = trained(nn.Sequential(nn.Linear(2, 2)), x, y, steps=60)
    artifact, answers = saved(trained(prepared(net, x), x, y, steps=3), x, tmp_path / "m")
    with torch.no_grad():
        assert np.allclose(answers[0], net(x).numpy(), atol=1e-6)
    assert "float_network" not in artifact.details


def test_a_network_that_learned_with_integers_from_the_start_has_none(tmp_path):
    x, y = points()
    fresh = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():  # it says the opposite of what is to be learned
        fresh[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    artifact, answers = saved(trained(prepared(fresh, x), x, y, steps=60), x, tmp_path / "m")
    assert answers == ()
    assert "Weights were trained or loaded after prepare_qat" in artifact.details["float_network"]
