"""Data that would make a report wrong is refused before work starts, in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from torchedge.compressed import CompressedModel
from torchedge.errors import CalibrationError, UsageError
from torchedge.exporting import load_artifact
from torchedge.saving.checks import finite_metrics


@pytest.fixture
def model(net, images):
    return CompressedModel(module=net, example_inputs=(images[:1],), samples=(images,))


@pytest.fixture
def refused(model, tmp_path, monkeypatch):
    def check(error, message, **changes):
        monkeypatch.setattr("torch.export.export", lambda *_: pytest.fail("work was done"))
        with pytest.raises(error, match=message) as caught:
            replace(model, **changes).save(tmp_path / "m")
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())

    return check


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((32,), 99), r"32 of 32 labels are outside 0…3, for example 99"),
        (torch.tensor([0] * 31 + [-1]), r"1 of 32 labels are outside 0…3, for example -1"),
        (torch.zeros(32), "labels are float32"),
        (torch.zeros(32, dtype=torch.bool), "labels are bool"),
        (torch.zeros(32, 1, dtype=torch.long), "labels have shape"),
        (["a"] * 32, "labels have shape list"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused(refused, labels, message):
    refused(CalibrationError, message, labels=labels)


def test_labels_of_a_network_without_scores_are_refused(images, tmp_path):
    model = CompressedModel(
        module=torch.nn.Conv2d(1, 4, 3),
        example_inputs=(images[:1],),
        samples=(images,),
        labels=torch.zeros(32, dtype=torch.long),
    )
    with pytest.raises(CalibrationError, match="no row of two scores or more"):
        model.save(tmp_path / "m")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("what", ["samples", "calibration"])
def test_data_that_is_not_finite_is_refused_with_its_place(refused, images, what, value):
    images = images.clone()
    images[5, 0, 2, 3] = value
    images[7, 0, 0, 0] = value
    message = rf"{what}\[0\] holds NaN or infinite values in 2 of 32 samples, the first at index 5"
    refused(CalibrationError, message, **{what: (images,)})


def test_example_inputs_that_are_not_finite_are_refused(refused, images):
    nothing = images[:1] * float("nan")
    refused(CalibrationError, r"example_inputs\[0\] holds 256 NaN", example_inputs=(nothing,))
    infinite = images[:1] + float("inf")
    message = r"example_inputs\[0\] holds NaN or infinite values in 1 of 1 samples"
    refused(CalibrationError, message, example_inputs=(infinite,))


@pytest.mark.parametrize("what", ["samples", "calibration", "example_inputs"])
def test_a_tensor_is_the_only_input(model, images, tmp_path, what):
    given = images[:1] if what == "example_inputs" else images
    wanted = replace(model, **{what: (given,)}).save(tmp_path / "tuple")
    assert replace(model, **{what: given}).save(tmp_path / "tensor").inputs == wanted.inputs


@pytest.mark.parametrize(
    "metrics", [{"a": "x"}, {"a": float("nan")}, {"a": float("inf")}, {"a": None}, {1: 0.5}]
)
def test_metrics_that_could_not_be_loaded_again_are_refused(refused, metrics):
    refused(UsageError, "a metric is a finite number", metrics=metrics)


def test_metrics_of_any_number_type_are_loaded_again_as_numbers(model, tmp_path):
    metrics = {"a": 1, "b": np.float32(0.5), "c": torch.tensor(0.25), "d": np.int64(3)}
    saved = replace(model, metrics=metrics).save(tmp_path / "m")
    assert load_artifact(saved.path).metrics == {"a": 1.0, "b": 0.5, "c": 0.25, "d": 3.0}
    assert finite_metrics(metrics) == saved.metrics


def test_a_folder_may_be_given_as_text(model, tmp_path):
    saved = model.save(str(tmp_path / "m"))
    assert load_artifact(str(tmp_path / "m")) == saved
