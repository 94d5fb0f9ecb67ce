"""A pruned network as an artefact: no pickle, no class."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.unit.pruning.networks import half_of, made
from torchedge.compressed import CompressedModel
from torchedge.pruning import channel_groups, remove_channels
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE, TorchToOnnx

_OPENED_ELSEWHERE = """
import sys, pathlib, numpy
from torchedge.compressed import TorchRunner
from torchedge.exporting.artifact import load_artifact

folder = pathlib.Path(sys.argv[1])
with TorchRunner().open(load_artifact(folder / "torch")) as session:
    numpy.save(folder / "answer.npy", session(numpy.load(folder / "input.npy"))[0])
assert not [name for name in sys.modules if name.startswith("tests")]
"""


def pruned(name):
    model, x = made(name)
    return remove_channels(model, half_of(channel_groups(model, (x,)))), x


def saved(model, x, folder):
    return CompressedModel(module=model, example_inputs=(x,), samples=(x,)).save(folder)


def test_another_process_opens_it_without_the_class_of_the_network(tmp_path):
    model, x = pruned("residual")  # keeps its class, which is one of the tests'
    saved(model, x, tmp_path / "torch")
    np.save(tmp_path / "input.npy", x.numpy())
    command = [sys.executable, "-c", _OPENED_ELSEWHERE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["reshaped", "attention", "split", "grouped", "transposed"])
def test_it_exports_to_onnx_and_computes_the_same_there(name, tmp_path):
    model, x = pruned(name)
    artifact = saved(model, x, tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    path = TorchToOnnx().export(artifact, tmp_path / "onnx").path / MODEL_FILE
    (found,) = open_model(path)(x.numpy())
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.ptp(expected))


def test_the_artefact_is_smaller_by_what_was_removed(tmp_path):
    model, x = made("flattened")
    whole = saved(model, x, tmp_path / "whole").file("program.pt2").stat().st_size
    half, _ = pruned("flattened")
    less = saved(half, x, tmp_path / "half").file("program.pt2").stat().st_size
    gone = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in half.parameters())
    assert whole - less == pytest.approx(4 * gone, abs=2000)  # of text, and of rounding to blocks
