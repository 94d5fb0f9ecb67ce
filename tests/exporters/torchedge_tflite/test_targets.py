"""What the targets are, without converting anything."""

import pytest

from torchedge import exporting
from torchedge.backends import TFLITE
from torchedge.errors import ArtifactError
from torchedge_tflite.layout import tflite_axes
from torchedge_tflite.runner import TFLiteRunner

TARGETS = ("android", "raspberry-pi-4", "raspberry-pi-5")


@pytest.mark.parametrize("name", TARGETS)
def test_a_tflite_target_trains_with_tflites_numbers_and_has_a_source(name):
    target = exporting.target(name)
    assert target.name == name
    assert target.scheme == TFLITE
    assert target.steps[-1].produces == "tflite"
    assert target.device.source


def test_the_runner_of_the_format_is_found_by_its_entry_point():
    assert isinstance(exporting.runner(exporting.Format("tflite")), TFLiteRunner)


@pytest.mark.parametrize(
    ("shape", "tflite_shape", "axes"),
    [
        ((1, 3, 8, 9), (1, 8, 9, 3), (0, 2, 3, 1)),
        ((1, 6, 20), (1, 20, 6), (0, 2, 1)),
        ((1, 4, 4, 4), (1, 4, 4, 4), (0, 2, 3, 1)),
        ((1, 3, 8, 9), (1, 3, 8, 9), (0, 1, 2, 3)),
        ((2, 5), (2, 5), (0, 1)),
    ],
)
def test_channels_are_last_in_tflite_where_there_are_places(shape, tflite_shape, axes):
    assert tflite_axes(shape, tflite_shape) == axes


def test_another_shape_is_refused_with_both():
    with pytest.raises(ArtifactError, match=r"\(1, 3, 8, 9\) has shape \(1, 9, 8, 3\)"):
        tflite_axes((1, 3, 8, 9), (1, 9, 8, 3))
