"""export() takes the folder of an artefact and the name of a target."""

from dataclasses import replace

import pytest

import torchedge
from torchedge import exporting
from torchedge.errors import ArtifactError, SchemeError, UnknownNameError
from torchedge.exporting.plugins import target_of


def test_a_target_is_taken_as_it_is_or_by_name():
    jetson = exporting.target("jetson")
    assert target_of("jetson") is jetson
    changed = replace(jetson, summary="mine")
    assert target_of(changed) is changed


@pytest.mark.parametrize("form", [str, lambda path: path])
def test_a_folder_is_opened_before_anything_else(save_model, tmp_path, form):
    source = save_model("onnx-cpu")
    with pytest.raises(SchemeError, match="was trained with other numbers than jetson-orin-nano"):
        torchedge.export(form(source.path), "jetson", tmp_path / "out")


def test_a_name_that_no_target_has_and_a_missing_folder_are_refused(save_model, tmp_path):
    with pytest.raises(UnknownNameError, match="planned and not built yet"):
        torchedge.export(save_model("onnx-cpu"), "iphone", tmp_path / "out")
    with pytest.raises(ArtifactError, match="does not exist"):
        torchedge.export("nowhere", "onnx-cpu", tmp_path / "out")
