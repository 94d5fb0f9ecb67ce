"""The digits recipe with few weights, as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pairs.reading import integer_weights
from torchedge.export.artifact import load_artifact

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(folder, *options):
    command = [sys.executable, str(ROOT / "recipes/digits.py"), "--target", "onnx-cpu", *options]
    command += ["--epochs", "2", "--qat-epochs", "1", "--out", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)


def test_the_zeros_are_in_the_exported_integers(tmp_path):
    zeros = int(0.8 * 16_208)  # without the last layer's 640
    done = run(tmp_path / "digits", "--sparsity", "0.8")
    assert done.returncode == 0, done.stderr
    artifact = load_artifact(tmp_path / "digits")
    assert artifact.metrics["sparsity"] == pytest.approx(zeros / 16_848)
    layers = integer_weights(artifact, tmp_path / "onnx")
    assert sum(layer.numel() for layer in layers) == 16_848
    found = sum(int((layer == 0).sum()) for layer in layers)
    assert zeros <= found <= 1.1 * zeros  # some small weights round to zero


def test_two_of_four_with_another_sparsity_is_refused(tmp_path):
    done = run(tmp_path / "digits", "--two-of-four", "--sparsity", "0.9")
    assert done.returncode == 2
    assert "2 of 4 is a sparsity of 0.5, not 0.9" in done.stderr
    assert not (tmp_path / "digits").exists()
