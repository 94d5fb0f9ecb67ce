"""Which float network a saved model is held against, and that it is never a wrong one."""

import copy
import io
import threading

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ResidualNet, quantized, with_batchnorm_statistics
from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.errors import UsageError
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.quantization import calibrate, fold_batchnorms, minmax, prepare_qat
from torchedge.quantization.diagnostics import requantize
from torchedge.quantization.origin import origin_of
from torchedge.quantization.recovery import quantize

SCHEME = exporting.target("onnx-cpu").scheme


@pytest.fixture
def save(images, tmp_path):
    def run(module, scheme=SCHEME, **changes):
        model = CompressedModel(
            module=module,
            example_inputs=(images[:1],),
            samples=(images,),
            scheme=scheme,
            **changes,
        )
        artifact = model.save(tmp_path / "saved", overwrite=True)
        return artifact, load_samples(artifact.file(SAMPLES_FILE)).float_answers

    return run


def answers_of(net, images):
    with torch.no_grad():
        return copy.deepcopy(net).eval()(images).numpy()


def is_that_of(answers, net, images):
    return len(answers) == 1 and np.allclose(answers[0], answers_of(net, images), atol=1e-6)


MADE = {
    "calibrated": lambda net, images: quantized(net, images, SCHEME),
    "merged": lambda net, images: fold_batchnorms(quantized(net, images, SCHEME)),
    "copied": lambda net, images: copy.deepcopy(quantized(net, images, SCHEME)),
    "quantised fast": lambda net, images: quantize(net, SCHEME, images.split(8), effort="fast"),
    "quantised": lambda net, images: quantize(net, SCHEME, images.split(8)),
    "moved from another backend": lambda net, images: (
        requantize(
            quantized(net, images, exporting.target("jetson").scheme), SCHEME, images.split(8)
        ).model
    ),
}


@pytest.mark.parametrize("made", MADE)
def test_the_users_own_network_is_kept_without_being_given(made, net, images, save):
    module = MADE[made](net, images)
    before = copy.deepcopy(net)
    with torch.no_grad():  # what the user does with the network afterwards is another matter
        net.classifier.weight.zero_()
    artifact, answers = save(module)
    assert is_that_of(answers, before, images)
    assert "float_network" not in artifact.details


def test_the_network_that_is_given_counts_and_stays_in_its_mode(net, images, save):
    given = ResidualNet().train()
    _, answers = save(quantized(net, images, SCHEME), float_module=given)
    assert is_that_of(answers, given, images)
    assert all(module.training for module in given.modules())


def clipped(net, images):
    """Calibrated so badly that hardly an answer is right."""
    module = quantized(net, images, SCHEME)
    for quantizer in module.quantizers.children():
        quantizer.set_range(quantizer.low * 0.01, quantizer.high * 0.01)
    return module


def test_a_network_that_calibration_ruins_is_still_held_against_its_own(net, images, save):
    _, answers = save(clipped(net, images))
    assert is_that_of(answers, net, images)


def loaded(images):
    """A fresh network prepared, into which a trained checkpoint is loaded."""
    torch.manual_seed(7)
    other = quantized(with_batchnorm_statistics(ResidualNet(), 3 * images), images, SCHEME)
    torch.manual_seed(8)
    module = prepare_qat(ResidualNet(), SCHEME, (images[:1],))
    module.load_state_dict(other.state_dict())
    return module


def test_a_network_from_before_a_checkpoint_was_loaded_is_not_taken_for_it(images, save):
    artifact, answers = save(loaded(images))
    assert answers == ()
    assert "not given. Weights were trained or loaded" in artifact.details["float_network"]
    assert "float_module" in artifact.details["float_network"]


def test_a_model_that_was_pickled_has_its_scheme_and_no_float_network(net, images, save):
    stream = io.BytesIO()
    torch.save(quantized(net, images, SCHEME), stream)
    stream.seek(0)
    module = torch.load(stream, weights_only=False)
    assert origin_of(module).scheme == SCHEME
    artifact, answers = save(module)
    assert answers == ()
    assert artifact.details["float_network"].startswith("not given; give the trained one")


def test_a_float_model_is_its_own_float_network(net, images, save):
    artifact, answers = save(net, scheme=None)
    assert answers == ()
    assert "float_network" not in artifact.details


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Flatten(), r"float_module returns output_0 \[256\], the model output_0 \[4\]"),
        (nn.Linear(3, 4), "float_module cannot be run on the samples"),
    ],
)
def test_a_float_network_of_another_kind_is_refused(given, message, net, images, save):
    with pytest.raises(UsageError, match=message):
        save(quantized(net, images, SCHEME), float_module=given)


def test_what_prepare_qat_remembers_adds_nothing_to_a_checkpoint(net, images):
    module = prepare_qat(net, SCHEME, (images[:1],))
    assert not [name for name in module.state_dict() if "origin" in name]
    assert origin_of(module).float_network is not net
    assert len(list(origin_of(module).parameters())) == 0
    assert origin_of(copy.deepcopy(module)).float_network is origin_of(module).float_network


class Keeps(nn.Module):
    """Keeps a lock, so that it cannot be copied."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.kept = threading.Lock()

    def forward(self, x):
        return self.linear(x)


def test_a_network_that_cannot_be_copied_is_not_remembered():
    from torchedge.quantization.origin import with_origin

    prepared = with_origin(nn.Module(), SCHEME, Keeps())
    assert origin_of(prepared).float_network is None


def test_a_calibrated_network_with_two_outputs_has_both_answers(images, tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            y = self.convolution(x)
            return {"y": y, "z": y.relu()}

    net = Two().eval()
    module = calibrate(prepare_qat(net, SCHEME, (images[:1],)), images.split(8), minmax)
    artifact = CompressedModel(
        module=module, example_inputs=(images[:1],), samples=(images,), scheme=SCHEME
    ).save(tmp_path / "m")
    found = load_samples(artifact.file(SAMPLES_FILE)).float_answers
    with torch.no_grad():
        wanted = net(images)
    assert np.allclose(found[0], wanted["y"].numpy(), atol=1e-6)
    assert np.allclose(found[1], wanted["z"].numpy(), atol=1e-6)
