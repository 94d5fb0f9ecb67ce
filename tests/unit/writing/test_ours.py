"""What --overwrite may replace: folders that this package wrote, and nothing in use."""

import json
import os
from pathlib import Path

import pytest

from torchedge.errors import OutputExistsError
from torchedge.exporting import Artifact, Format, write_artifact
from torchedge.exporting.artifact import MANIFEST
from torchedge.writing import ours, require_free, staged_folder


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    draft = Artifact(path=folder, format=Format("a"), inputs=(), outputs=(), made_by=("x",))
    write_artifact(draft)
    return folder


@pytest.fixture
def exported(artifact, tmp_path):
    """As ``torchedge export`` leaves it: forms of the network, and the report beside them."""
    folder = tmp_path / "exported"
    folder.mkdir()
    artifact.rename(folder / "a")
    report = {"artifact_sha256": "0", "target": "there", "stages": []}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.md").write_text("# report")
    return folder


def refusal(folder, **options):
    before = sorted(folder.rglob("*")) if folder.exists() else []
    with (
        pytest.raises(OutputExistsError) as caught,
        staged_folder(folder, overwrite=True, **options),
    ):
        pytest.fail("work was done")
    assert (sorted(folder.rglob("*")) if folder.exists() else []) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_ours_is_replaced(artifact, exported, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (exported, exported / "a", empty):
        with staged_folder(folder, overwrite=True) as staging:
            (staging / MANIFEST).write_text("{}")
        assert [path.name for path in folder.iterdir()] == [MANIFEST]
    assert ours._MANIFEST == MANIFEST


def test_photographs_are_not_replaced(tmp_path):
    """``import-onnx c.onnx photos photos --overwrite`` once removed them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"{number}.png").write_bytes(b"picture")
    said = refusal(photos)
    assert "did not write there" in said
    assert said.count(".png'") == 3


@pytest.mark.parametrize(
    "name", ["notes.txt", "a/engine.plan", "deep/er/file", "a/manifest.json.orig", ".git/HEAD"]
)
def test_a_file_of_somebody_else_inside_a_folder_of_ours_is_named(exported, name):
    (exported / name).parent.mkdir(parents=True, exist_ok=True)
    (exported / name).write_text("mine")
    assert f"'{name}'" in refusal(exported)


def test_a_sketch_that_was_edited_is_not_lost_and_a_damaged_model_is_replaced(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "sketch.ino").write_text("void loop() {}\n")
    (folder / "model.onnx").write_bytes(b"\x08\x00\xff" * 100)
    draft = Artifact(path=folder, format=Format("a"), inputs=(), outputs=(), made_by=("x",))
    write_artifact(draft)
    (folder / "model.onnx").write_bytes(b"\x08\x00\xff")
    require_free(folder, overwrite=True)
    (folder / "sketch.ino").write_text("void loop() { my_own(); }\n")
    assert "edited since: 'sketch.ino'" in refusal(folder)


@pytest.mark.parametrize(
    "manifest", ['{"name": "web app", "files": {"a.png": 1}}', "[]", "no JSON", '{"files": 3}', ""]
)
def test_another_programs_manifest_makes_no_folder_ours(tmp_path, manifest):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / MANIFEST).write_text(manifest)
    (folder / "a.png").write_bytes(b"picture")
    assert MANIFEST in refusal(folder)


def test_a_report_alone_makes_no_folder_ours(exported):
    (exported / "a").rename(exported.parent / "elsewhere")
    assert "report" in refusal(exported)


def test_a_link_in_place_of_a_file_of_ours_is_not_ours(exported, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (exported / "a/weights").unlink()
    (exported / "a/weights").symlink_to(tmp_path / "precious")
    assert "'a/weights'" in refusal(exported)
    assert (tmp_path / "precious").exists()


def test_a_link_to_a_folder_of_ours_is_not_replaced(artifact, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(artifact)
    assert "is a link to" in refusal(link)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    assert "is a link to" in refusal(dangling)


def test_a_file_is_not_replaced(tmp_path):
    file = tmp_path / "thesis.tex"
    file.write_text("years of work")
    assert "is a file" in refusal(file)
    assert "cannot be made" in refusal(file / "out")
    assert file.read_text() == "years of work"


@pytest.mark.parametrize("word", [".", "..", "inner/..", "../made", "../made/"])
def test_the_folder_that_one_is_in_is_not_replaced(artifact, monkeypatch, word):
    (artifact / "inner").mkdir()
    monkeypatch.chdir(artifact)
    if word == "..":
        monkeypatch.chdir(artifact / "inner")
    with pytest.raises(OutputExistsError, match="holds the folder that you are in"):
        require_free(Path(word), overwrite=True)


def test_the_home_folder_and_what_holds_it_are_not_replaced(artifact, monkeypatch):
    (artifact / "user").mkdir()
    for home in (artifact, artifact / "user"):
        monkeypatch.setenv("HOME", str(home))
        assert "holds your home folder" in refusal(artifact)


def test_a_mount_point_is_not_replaced(artifact, monkeypatch, tmp_path):
    mounts = tmp_path / "mountinfo"
    place = os.fspath(artifact)
    mounts.write_text(f"36 35 98:0 /mnt {place} rw - ext3 /dev/root rw\n")
    monkeypatch.setattr("torchedge.writing.places._MOUNTS", mounts)
    assert "is a mount point" in refusal(artifact)


@pytest.mark.parametrize("read", ["", "weights", "../made/weights", "link/weights"])
def test_a_folder_that_holds_an_input_is_not_replaced(artifact, tmp_path, read):
    (tmp_path / "link").symlink_to(artifact)
    path = tmp_path / read if read.startswith("link") else artifact / read
    assert "which is read" in refusal(artifact, inputs=(path,))


def test_a_file_that_comes_while_the_new_folder_is_made_is_not_lost(artifact):
    def write():
        with staged_folder(artifact, overwrite=True) as staging:
            (staging / "new").write_text("new")
            (artifact / "late.txt").write_text("mine")

    with pytest.raises(OutputExistsError, match=r"'late\.txt'"):
        write()
    assert (artifact / "late.txt").read_text() == "mine"
    assert (artifact / "weights").exists()
    assert [path.name for path in artifact.parent.iterdir()] == ["made"]


@pytest.mark.parametrize("inside", ["in", "in/deeper", "../made/in"])
def test_a_folder_inside_of_what_is_read_is_refused_before_it_exists(artifact, inside):
    with pytest.raises(OutputExistsError, match=r"lies in .* which is read"):
        require_free(artifact / inside, overwrite=False, inputs=(artifact,))
    require_free(artifact.parent / "beside", overwrite=False, inputs=(artifact,))
    require_free(artifact.parent / "beside", overwrite=False, inputs=(artifact.parent,))  # pictures
    require_free(artifact.parent / f"{artifact.name}-2", overwrite=False, inputs=(artifact,))
