import subprocess

import numpy as np
import pytest

from benchmarks.integers import rivals
from torchedge.errors import ExportError
from torchedge_tflite.process import Converter


def test_a_rival_that_does_not_end_is_one_line(monkeypatch, tmp_path):
    def never_ends(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(rivals, "find_converter", lambda: Converter(python="python", version="0"))
    monkeypatch.setattr(subprocess, "run", never_ends)
    with pytest.raises(ExportError, match="took more than 900 s"):
        rivals.onnx2tf_int8(tmp_path / "model.onnx", np.zeros((1, 4), np.float32))
