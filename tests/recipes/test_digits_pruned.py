"""The digits recipe with channels removed, as a user types it, through to ONNX."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from torchedge.exporting.artifact import load_artifact

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(folder, script, *arguments):
    command = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_a_pruned_network_trains_with_integers_and_exports_with_a_quarter_of_the_arithmetic(
    tmp_path,
):
    options = ["--prune-macs", "0.25", "--epochs", "1", "--qat-epochs", "1"]
    trained = run(
        tmp_path, "recipes/digits.py", "--target", "onnx-cpu", "--out", "digits", *options
    )
    assert trained.returncode == 0, trained.stderr
    assert "unpruned_accuracy" in trained.stdout
    done = run(tmp_path, "scripts/export.py", "digits", "--target", "onnx-cpu", "--out", "exported")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "exported/report.json").read_text())
    macs = report["census"]["macs"]
    assert 0.2 * 912_432 <= macs <= 0.25 * 912_432
    assert report["census"]["integer_share"] >= 0.99
    assert load_artifact(tmp_path / "digits").metrics["float_accuracy"] > 0.8


@pytest.mark.parametrize(
    ("share", "words"), [("0.01", "macs=0.01 cannot be met"), ("1.5", "macs=1.5 is not in (0, 1]")]
)
def test_a_share_that_cannot_be_reached_is_refused_before_training(share, words, tmp_path):
    done = run(tmp_path, "recipes/digits.py", "--prune-macs", share, "--out", "digits")
    assert done.returncode == 2
    assert words in done.stderr.replace("\n", " ")
    assert not (tmp_path / "digits").exists()
