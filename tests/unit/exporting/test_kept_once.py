"""Samples that several forms of a network have in common lie on the disk once."""

import json
import shutil

import pytest

from torchedge.cli import main
from torchedge.errors import TorchedgeError
from torchedge.exporting.artifact import MANIFEST, copy_artifact, load_artifact
from torchedge.exporting.manifest import sealed
from torchedge.exporting.samples import SAMPLES_FILE, load_samples


@pytest.fixture
def exported(save_model, tmp_path):
    """The folder of an export: the program in PyTorch, and ONNX made of it."""
    source, out = save_model("onnx-cpu"), tmp_path / "out"
    assert main(["export", str(source.path), "--target", "onnx-cpu", "--out", str(out)]) == 0
    return out


def test_an_export_holds_its_samples_once_and_every_form_reads_them(exported):
    assert len(list(exported.rglob(SAMPLES_FILE))) == 1
    for name in ("torch", "onnx"):
        artifact = load_artifact(exported / name)
        assert len(load_samples(artifact.file(SAMPLES_FILE)).inputs[0]) == 32
    assert artifact.files[SAMPLES_FILE].kept_in == "torch"


def test_a_form_opens_from_inside_its_own_folder(exported, monkeypatch):
    monkeypatch.chdir(exported / "onnx")
    assert load_artifact(".").file(SAMPLES_FILE).is_file()


def test_a_form_that_was_moved_away_from_its_samples_says_so(exported, tmp_path):
    alone = tmp_path / "alone" / "onnx"
    shutil.copytree(exported / "onnx", alone)
    with pytest.raises(TorchedgeError, match="keep the folders of one export beside one another"):
        load_artifact(alone)


def test_samples_of_another_export_are_not_taken_for_them(exported):
    data = bytearray((exported / "torch" / SAMPLES_FILE).read_bytes())
    data[-1] ^= 1
    (exported / "torch" / SAMPLES_FILE).write_bytes(data)
    with pytest.raises(TorchedgeError, match="SHA-256"):
        load_artifact(exported / "onnx")


def test_a_copy_needs_no_folder_beside_it(exported, tmp_path):
    (tmp_path / "copy").mkdir()
    copy_artifact(load_artifact(exported / "onnx"), tmp_path / "copy")
    artifact = load_artifact(tmp_path / "copy")
    assert artifact.files[SAMPLES_FILE].kept_in == ""
    assert artifact.file(SAMPLES_FILE).parent == tmp_path / "copy"


@pytest.mark.parametrize("place", ["..", "../torch", "/etc", "a/b", ".hidden", "torch\0", 3, None])
def test_a_place_that_is_no_plain_folder_beside_it_is_refused(exported, place):
    path = exported / "onnx" / MANIFEST
    plain = json.loads(path.read_text())
    plain["files"][SAMPLES_FILE]["kept_in"] = place
    path.write_text(json.dumps(plain))
    with pytest.raises(TorchedgeError) as caught:
        load_artifact(exported / "onnx")
    assert "\n" not in str(caught.value)


def test_a_link_beside_it_is_not_followed(exported):
    (exported / "torch").rename(exported / "elsewhere")
    (exported / "torch").symlink_to(exported / "elsewhere")
    with pytest.raises(TorchedgeError):
        load_artifact(exported / "onnx")


def test_the_place_is_part_of_what_the_manifest_is_sealed_with(exported):
    artifact = load_artifact(exported / "onnx")
    assert sealed(artifact)[1]["files"][SAMPLES_FILE]["kept_in"] == "torch"
