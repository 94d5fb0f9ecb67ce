"""The digits recipe with a teacher, as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from torchedge.compressed import TorchRunner
from torchedge.exporting.artifact import load_artifact

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("technique", ["hinton", "fitnet", "rkd"])
def test_the_recipe_trains_with_a_teacher_and_saves_a_student_that_needs_none(technique, tmp_path):
    out = tmp_path / "digits"
    command = [sys.executable, str(ROOT / "recipes/digits.py"), "--target", "onnx-cpu"]
    command += ["--distil", technique, "--epochs", "1", "--qat-epochs", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "teacher_accuracy" in done.stdout
    artifact = load_artifact(out)
    assert artifact.file("program.pt2").stat().st_size < 500_000  # the teacher has 1.5 MB
    with TorchRunner().open(artifact) as session:
        import numpy as np

        (logits,) = session(np.zeros((1, 1, 28, 28), np.float32))
    assert logits.shape == (1, 10)


def test_an_unknown_technique_is_refused_with_the_choices(tmp_path):
    command = [sys.executable, str(ROOT / "recipes/digits.py"), "--distil", "fitnets"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert "fitnet" in done.stderr + done.stdout
