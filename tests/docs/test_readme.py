"""The README's table of techniques: every line runs, in the order in which it stands there."""

import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.docs.pages import ROOT, blocks, commands
from torchedge.cli import main

README = ROOT / "README.md"
_CODE = re.compile(r"`([^`]+)`")


class Task(pl.LightningModule):
    """A classifier that Lightning trains."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make_student():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4),
    )  # fmt: skip


@pytest.fixture
def litert():
    pytest.importorskip("ai_edge_litert")


@pytest.fixture
def names():
    """What a reader has before the first line of the table: a network, its data, a trainer."""
    images, network = torch.rand(32, 1, 8, 8), make_student().eval()
    dataset = TensorDataset(images, torch.arange(32) % 4)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return {
        "network": network,
        "images": images,
        "example_inputs": (images[:1],),
        "batches": images.split(8),
        "dataset": dataset,
        "loader": DataLoader(dataset, 8),
        "teacher": make_student().eval(),
        "task": Task(make_student()),
        "make_student": make_student,
        "fit": lambda network: None,
        "fit_student": lambda student, teacher: None,
        "trainer": pl.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet),
    }


def lines():
    text = README.read_text(encoding="utf-8")
    table = text[text.index("| technique |") :].split("\n\n")[0].splitlines()[2:]
    codes = [_CODE.findall(row.rsplit(" | ", 1)[1]) for row in table]
    return [code for row in codes for code in row if not code.startswith("torchedge ")]


@pytest.mark.filterwarnings("ignore::Warning:pytorch_lightning", "ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*(validation_step|many workers)", "ignore:the range clips")
def test_every_line_of_the_table_of_techniques_runs_in_its_order(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, imports = [block.text for block in blocks(README) if block.language == "python"]
    assert len(lines()) > 20
    for line in (imports, *lines()):
        exec(compile(line, "README.md", "exec", dont_inherit=True), names)
    assert (Path("runs/mine") / "manifest.json").is_file()


@pytest.mark.filterwarnings("ignore:the range clips")  # of some twenty pictures
def test_the_one_call_runs_as_it_is_printed(names, tmp_path, monkeypatch, litert):
    monkeypatch.chdir(tmp_path)
    one_call, _ = [block.text for block in blocks(README) if block.language == "python"]
    exec(compile(one_call, "README.md", "exec", dont_inherit=True), names)
    assert (Path("runs/my-network/tflite") / "manifest.json").is_file()
    assert str(names["report"]).splitlines()[0] == "model for raspberry-pi-4, 8 samples"


def test_the_lines_behind_the_recipe_run_one_after_the_other(
    save_model, tmp_path, monkeypatch, capsys
):
    save_model("onnx-cpu", tmp_path / "runs/digits", name="digits")
    monkeypatch.chdir(tmp_path)
    typed = [words[1:] for _, words in commands(README) if words[0] == "python"]
    scripts = [words for words in typed if words[0].startswith("scripts/")]
    assert len(scripts) == 4
    for script, *words in scripts:
        assert main([Path(script).stem, *words]) == 0, capsys.readouterr().err
