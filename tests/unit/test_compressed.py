import numpy as np
import pytest
import torch

from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.errors import (
    CalibrationError,
    OutputExistsError,
    SchemeError,
    WeightError,
)
from torchedge.exporting import load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples


def test_a_saved_model_needs_no_class_and_answers_as_it_did(save_model):
    artifact = load_artifact(save_model().path)
    samples = load_samples(artifact.file(SAMPLES_FILE))
    with TorchRunner().open(artifact) as session:
        for index, inputs in enumerate(samples.batches(1)):
            assert np.array_equal(session(*inputs)[0], samples.expected[0][index : index + 1])


def test_the_manifest_says_what_the_output_grid_is(save_model, tmp_path):
    integer = save_model("onnx-cpu", tmp_path / "a").outputs[0]
    assert integer.scale > 0
    assert 0 <= integer.zero_point <= 255
    assert save_model("jetson", tmp_path / "b").outputs[0].scale is None


def test_labels_calibration_scheme_and_metrics_travel_along(save_model, images):
    artifact = load_artifact(save_model(metrics={"float_accuracy": 0.5}).path)
    samples = load_samples(artifact.file(SAMPLES_FILE))
    assert samples.labels.tolist() == [i % 4 for i in range(len(images))]
    assert np.array_equal(samples.calibration[0], images[:16].numpy())
    assert artifact.metrics == {"float_accuracy": 0.5}
    assert artifact.scheme.activation.signed is False


def test_a_float_model_is_saved_without_a_scheme(net, images, tmp_path):
    model = CompressedModel(module=net, example_inputs=(images[:1],), samples=(images,))
    net.train()
    assert load_artifact(model.save(tmp_path / "float").path).scheme is None
    assert net.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": (torch.zeros(0, 1, 16, 16),)}, "holds no sample"),
        ({"samples": ()}, "samples set is empty"),
        ({"samples": (torch.zeros(4, 1, 8, 8),)}, "preprocess them alike"),
        ({"calibration": (torch.zeros(0, 1, 16, 16),)}, "calibration"),
        ({"labels": torch.zeros(5)}, "labels have shape"),
        ({"example_inputs": (torch.zeros(5, 1, 16, 16),)}, "multiple of the batch size 5"),
    ],
)
def test_samples_that_do_not_fit_are_refused(save_model, tmp_path, changes, message):
    with pytest.raises(CalibrationError, match=message):
        save_model(**changes)
    assert not list(tmp_path.iterdir())


def test_a_scheme_without_fake_quantisation_is_refused_and_the_reverse(save_model, net):
    with pytest.raises(SchemeError, match="float module"):
        save_model(module=net)
    with pytest.raises(SchemeError, match="no scheme"):
        save_model(scheme=None)


def test_nan_weights_are_refused(net, images, tmp_path):
    with torch.no_grad():
        net.classifier.bias[0] = float("inf")
    model = CompressedModel(module=net, example_inputs=(images[:1],), samples=(images,))
    with pytest.raises(WeightError, match=r"classifier\.bias"):
        model.save(tmp_path / "x")


def test_nothing_is_overwritten_unless_asked(save_model, tmp_path):
    first = save_model()
    with pytest.raises(OutputExistsError, match="overwrite"):
        save_model()
    assert load_artifact(first.path).sha256 == first.sha256


class Answers(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        return {"tuple": (x, 2 * x), "list": [x, 2 * x]}[self.kind]


@pytest.mark.parametrize("kind", ["tuple", "list"])
def test_a_model_with_several_outputs_is_saved_with_all_of_them(images, tmp_path, kind):
    model = CompressedModel(module=Answers(kind), example_inputs=(images[:1],), samples=(images,))
    artifact = model.save(tmp_path / "m")
    with TorchRunner().open(artifact) as session:
        assert [len(artifact.outputs), len(session(images[:1].numpy()))] == [2, 2]
