"""The command line keeps what is not ours, and takes names for text."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from torchedge.cli import export as export_command
from torchedge.cli import main
from torchedge.exporting import load_artifact

NAME = "a [red] #_1,(2)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "c.onnx"
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    program = torch.onnx.export(network, (torch.rand(1, 3, 8, 8),), dynamo=True, verbose=False)
    program.save(path)
    return path


@pytest.fixture
def model(made, tmp_path):
    """A float ONNX file from elsewhere, and a folder of samples for it."""
    path, data = tmp_path / "c.onnx", tmp_path / "photos"
    shutil.copyfile(made, path)
    data.mkdir()
    for number in range(8):
        np.save(data / f"{number}.npy", np.full((3, 8, 8), number / 8, np.float32))
    return path


def said(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize("out", ["photos", ".", "..", "c.onnx", "photos/.."])
def test_importing_onto_what_is_read_or_used_is_refused(model, out, capsys, monkeypatch):
    """``import-onnx c.onnx photos photos --overwrite`` once removed the photographs."""
    monkeypatch.chdir(model.parent)
    before = sorted(model.parent.rglob("*"))
    assert main(["import-onnx", "c.onnx", "photos", out, "--overwrite"]) == 2
    (line,) = said(capsys)
    assert "is not replaced" in line
    assert sorted(model.parent.rglob("*")) == before


def test_an_import_is_replaced_by_another_one_but_not_with_a_note_inside(model, capsys):
    out = model.parent / "out"
    words = ["import-onnx", str(model), str(model.parent / "photos"), str(out)]
    assert main(words) == 0
    assert main(words) == 2
    assert main([*words, "--overwrite"]) == 0
    (out / "notes.txt").write_text("mine")
    assert main([*words, "--overwrite"]) == 2
    assert "'notes.txt'" in said(capsys)[-1]
    assert (out / "notes.txt").read_text() == "mine"


def test_an_export_is_refused_before_training_where_it_must_not_be_written(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.tex").write_text("years")
    monkeypatch.setattr(export_command, "run_child", lambda program: pytest.fail("work was done"))
    assert main(["export", "--target", "jetson", "--out", ".", "--overwrite"]) == 2
    assert "holds the folder that you are in" in said(capsys)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_name_with_mark_up_is_exported_and_shown_as_text(save_model, tmp_path, capsys):
    """It once ended in a MarkupError, after the folder was written."""
    source = save_model("onnx-cpu", name=NAME).path
    out = tmp_path / "out"
    assert main(["export", str(source), "--target", "onnx-cpu", "--out", str(out)]) == 0
    assert main(["benchmark", str(out / "onnx"), "--runs", "3"]) == 0
    assert main(["benchmark", str(out / "onnx"), "--census"]) == 0
    shown = capsys.readouterr()
    assert "[red]" in shown.out
    page = (out / "report.md").read_text("utf-8")
    assert "\\[red\\]" in page
    assert load_artifact(out / "onnx").name == NAME


def test_a_name_with_spaces_is_a_default_folder_without(save_model, tmp_path, monkeypatch):
    source = save_model("onnx-cpu", name="x y").path
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(source), "--target", "onnx-cpu"]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x-y-onnx-cpu"]


def test_whoever_reads_only_the_beginning_ends_no_command_with_a_traceback():
    command = [sys.executable, "-m", "torchedge", "targets", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 141)
