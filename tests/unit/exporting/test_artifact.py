import json
import os
from dataclasses import replace

import pytest

from benchmarks.hostile_inputs.sealing import edited_manifest
from torchedge.errors import ArtifactError, UsageError
from torchedge.exporting import Artifact, Format, TensorSpec, load_artifact, write_artifact
from torchedge.exporting.artifact import MANIFEST, copy_artifact
from torchedge.scheme import QuantScheme


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "artifact"
    (folder / "inside").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "inside/note.txt").write_text("note")
    draft = Artifact(
        path=folder,
        format=Format("test"),
        inputs=(TensorSpec("x", (1, 3), "float32"),),
        outputs=(TensorSpec("y", (1, 2), "float32", 0.5, -3),),
        made_by=("a", "b"),
        name="little",
        scheme=QuantScheme(),
        metrics={"accuracy": 0.25},
        details={"opset": 13},
    )
    return write_artifact(draft)


def edited(artifact, change):
    manifest = json.loads((artifact.path / MANIFEST).read_text())
    change(manifest)
    (artifact.path / MANIFEST).write_text(json.dumps(manifest))


def test_what_was_written_is_what_is_read(artifact):
    assert load_artifact(artifact.path) == artifact
    assert set(artifact.files) == {"model.bin", "inside/note.txt"}


def test_the_digest_depends_on_the_files_and_not_on_the_place(artifact, tmp_path):
    copy = copy_artifact(artifact, tmp_path / "copy")
    assert load_artifact(copy.path).sha256 == artifact.sha256


def test_a_changed_file_is_refused_with_both_hashes(artifact):
    (artifact.path / "model.bin").write_bytes(b"weightz")
    with pytest.raises(ArtifactError, match=r"SHA-256 .* the manifest says"):
        load_artifact(artifact.path)


def test_a_truncated_file_is_refused_with_both_sizes(artifact):
    (artifact.path / "model.bin").write_bytes(b"wei")
    with pytest.raises(ArtifactError, match="3 bytes, the manifest says 7"):
        load_artifact(artifact.path)


def test_a_missing_file_is_refused_by_name(artifact):
    (artifact.path / "model.bin").unlink()
    with pytest.raises(ArtifactError, match=r"model\.bin"):
        load_artifact(artifact.path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside", "a\\b"])
def test_a_file_outside_the_folder_is_refused(artifact, name):
    record = {"bytes": 1, "sha256": "0", "kept_in": ""}
    edited(artifact, lambda manifest: manifest["files"].update({name: record}))
    with pytest.raises(ArtifactError, match="outside the folder"):
        load_artifact(artifact.path)


def test_a_link_is_not_followed(artifact, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"weights")
    (artifact.path / "model.bin").unlink()
    (artifact.path / "model.bin").symlink_to(secret)
    with pytest.raises(ArtifactError, match="not a file"):
        load_artifact(artifact.path)


def test_a_file_removed_from_the_list_is_noticed(artifact):
    edited(artifact, lambda manifest: manifest["files"].pop("model.bin"))
    with pytest.raises(ArtifactError, match="edited"):
        load_artifact(artifact.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("inputs"),
        lambda manifest: manifest.update(manifest_version=99),
        lambda manifest: manifest.update(files=[1]),
        lambda manifest: manifest["scheme"].pop("weight"),
        lambda manifest: manifest["inputs"][0].update(shape="many"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(artifact, change):
    edited(artifact, change)
    with pytest.raises(ArtifactError, match="not a manifest"):
        load_artifact(artifact.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_manifest_that_is_no_object_is_refused(artifact, text):
    (artifact.path / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError):
        load_artifact(artifact.path)


def test_a_missing_folder_and_a_file_in_its_place_are_told_apart(artifact, tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        load_artifact(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="is a file"):
        load_artifact(artifact.path / "model.bin")


def test_a_folder_of_artefacts_offers_its_members(artifact):
    with pytest.raises(ArtifactError, match="holds several artefacts: artifact"):
        load_artifact(artifact.path.parent)


def test_asking_for_a_file_it_does_not_hold_lists_what_it_holds(artifact):
    with pytest.raises(ArtifactError, match=r"no 'model\.onnx', only .*model\.bin"):
        artifact.file("model.onnx")


def resealed(artifact, change):
    edited_manifest(artifact.path, change)
    return artifact.path


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(name="other"),
        lambda m: m.update(class_names=["a", "b"]),
        lambda m: m["outputs"][0].update(scale=0.25),
        lambda m: m["metrics"].update(accuracy=0.99),
        lambda m: m["details"].update(opset=18),
        lambda m: m["scheme"]["weight"].update(bits=4),
        lambda m: m.update(made_by=["somebody"]),
        lambda m: m.update(more="than is known"),
    ],
)
def test_whatever_is_edited_in_a_manifest_is_noticed(artifact, change):
    edited(artifact, change)
    with pytest.raises(ArtifactError, match="was edited"):
        load_artifact(artifact.path)


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_a_manifest_of_another_version_says_to_export_again(artifact, version):
    path = resealed(artifact, lambda m: m.update(manifest_version=version))
    with pytest.raises(ArtifactError, match=r"version 2 .* export the model again"):
        load_artifact(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(class_names=["\x1b[2J"]),
        lambda m: m["inputs"][0].update(name="a\nb"),
        lambda m: m.update(made_by=["\x9b31m"]),
        lambda m: m["metrics"].update({"\x07": 1.0}),
        lambda m: m["details"].update(note={"deep": ["\x1b]0;title\x07"]}),
    ],
)
def test_a_word_that_a_terminal_would_obey_is_refused(artifact, change):
    with pytest.raises(ArtifactError, match=r"has the character U\+") as refused:
        load_artifact(resealed(artifact, change))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["files"]["model.bin"].update(bytes=7.0),
        lambda m: m["files"]["model.bin"].update(bytes=True),
        lambda m: m["inputs"][0].update(shape=[1.0, 3]),
        lambda m: m["inputs"][0].update(shape=[-1, 3]),
        lambda m: m["inputs"][0].update(shape=[2**40, 2**40]),
        lambda m: m["metrics"].update(accuracy="0.25"),
        lambda m: m.update(class_names="ab"),
        lambda m: m.update(details=[]),
        lambda m: m.update(name=None),
    ],
)
def test_a_value_of_another_type_is_not_made_one_of_the_right_type(artifact, change):
    with pytest.raises(ArtifactError, match="not a manifest"):
        load_artifact(resealed(artifact, change))


def test_a_pipe_among_the_files_is_refused_and_not_waited_for(artifact):
    (artifact.path / "model.bin").unlink()
    os.mkfifo(artifact.path / "model.bin")
    with pytest.raises(ArtifactError, match="a device"):
        load_artifact(artifact.path)


def test_two_files_that_differ_in_case_only_are_refused(artifact):
    path = resealed(artifact, lambda m: m["files"].update({"MODEL.bin": m["files"]["model.bin"]}))
    with pytest.raises(ArtifactError, match="in case only"):
        load_artifact(path)


def test_what_was_written_holds_its_details_as_they_will_be_read(artifact):
    written = write_artifact(replace(artifact, details={"sizes": (1, 2)}))
    assert written == load_artifact(artifact.path)


def test_details_that_json_cannot_hold_are_refused_where_they_are_written(artifact):
    with pytest.raises(UsageError, match="is not written"):
        write_artifact(replace(artifact, details={"sqnr": float("inf")}))


@pytest.mark.parametrize("bias", ["\x1b[2J", "a\nb", "\x9b31m"])
def test_a_refusal_that_repeats_a_word_of_the_file_is_still_one_plain_line(artifact, bias):
    with pytest.raises(ArtifactError, match="no kind of bias") as refused:
        load_artifact(resealed(artifact, lambda m: m["scheme"].update(bias=bias)))
    assert str(refused.value).isprintable()
