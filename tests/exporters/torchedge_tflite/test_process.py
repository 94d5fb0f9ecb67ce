"""Finding an interpreter with onnx2tf, and what its failures become; no onnx2tf is needed here."""

import importlib.util
import stat
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

import torchedge
from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.errors import ExportError, MissingDependencyError, StorageError
from torchedge.exporting.target import configured
from torchedge.writing import space
from torchedge_tflite.process import ENVIRONMENT_VARIABLE, VERSIONS, Converter, find_converter
from torchedge_tflite.step import FLOAT_FILE, OnnxToTFLite

SAYS_VERSION = f'[ "$1" = -c ] && {{ echo 3.11.7; echo {VERSIONS[0]}; exit 0; }}\n'


IN_HALVES = configured(exporting.target("raspberry-pi-5"), precision="float16")


@pytest.fixture
def without_onnx2tf(monkeypatch):
    """An interpreter that has no onnx2tf, whatever is installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx2tf" else find(name)
    )
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def other_python(without_onnx2tf, monkeypatch, tmp_path):
    """Names a script as the interpreter that has onnx2tf."""

    def make(script: str) -> Path:
        path = tmp_path / "python-elsewhere"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
        return path

    return make


def test_without_onnx2tf_one_line_says_what_to_type(without_onnx2tf):
    with pytest.raises(MissingDependencyError) as caught:
        find_converter()
    text = str(caught.value)
    assert "\n" not in text
    wanted = "onnx2tf==1.29.24" if sys.version_info < (3, 12) else "onnx2tf[tensorflow]==2.6.9"
    assert f"pip install '{wanted}'" in text
    assert ENVIRONMENT_VARIABLE in text


def test_an_interpreter_elsewhere_is_used(other_python):
    python = other_python(SAYS_VERSION)
    assert find_converter() == Converter(python=str(python), version="1.29.24")


def test_both_generations_are_taken(other_python):
    other_python("echo 3.13.0; echo 2.6.9")
    assert find_converter().version == "2.6.9"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 3.11.7; echo 9.9.9", "has onnx2tf 9.9.9.*pip install 'onnx2tf==1.29.24'"),
        ("echo 3.10.1; exit 1", "has no onnx2tf.*pip install 'onnx2tf==1.29.24'"),
        ("echo 3.12.0; exit 1", r"has no onnx2tf.*'onnx2tf\[tensorflow\]==2.6.9'"),
        ("echo 3.13.0; echo 1.20", r"has onnx2tf 1.20,.*'onnx2tf\[tensorflow\]==2.6.9'"),
        ("echo hello; exit 0", "is no Python"),
    ],
)
def test_another_version_than_those_tried_is_refused_with_the_line_for_that_python(
    other_python, script, said
):
    other_python(script)
    with pytest.raises(MissingDependencyError, match=said) as caught:
        find_converter()
    assert "\n" not in str(caught.value)


def test_an_interpreter_that_is_not_there_is_named(without_onnx2tf, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/nowhere/python")
    with pytest.raises(MissingDependencyError, match="'/nowhere/python', which cannot be started"):
        find_converter()


def test_a_broken_conversion_says_what_broke_and_leaves_nothing_behind(
    litert, other_python, save_model, tmp_path
):
    other_python(f"{SAYS_VERSION}echo 'onnx_op_name: node_a'; echo 'ERROR: no such thing'; exit 3")
    source = save_model("raspberry-pi-5")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ExportError, match=r"exit code 3 at onnx_op_name: node_a") as caught:
        torchedge.export(source, IN_HALVES, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert "ERROR: no such thing" in str(caught.value)
    log = Path(str(caught.value).split("output is in ")[1].split(". Replace")[0])
    assert "no such thing" in log.read_text()
    log.unlink()


def test_operators_that_tflite_lacks_are_named(litert, other_python, save_model, tmp_path):
    """TensorFlow's last line about a GELU was once all that was shown: it names no operator."""
    other_python(
        f"{SAYS_VERSION}echo 'TF Select ops: Erf'; echo '<unknown>:0: error: main'; exit 1"
    )
    source = save_model("raspberry-pi-5")
    with pytest.raises(ExportError, match="TFLite has no operator for Erf") as caught:
        torchedge.export(source, IN_HALVES, tmp_path / "out")
    Path(str(caught.value).split("output is in ")[1].split(". Replace")[0]).unlink()


def test_a_full_temporary_folder_is_not_taken_for_an_operation(
    litert, other_python, save_model, tmp_path, monkeypatch
):
    """The advice was to replace the operation, when all that was lacking was room."""
    other_python(f"{SAYS_VERSION}echo 'OSError: [Errno 28] No space left on device'; exit 1")
    source = save_model("raspberry-pi-5")
    temporary = Path(tempfile.gettempdir())
    free = space._free
    monkeypatch.setattr(
        space,
        "_free",
        lambda place: 0 if temporary.resolve() == place.parent.resolve() else free(place),
    )
    with pytest.raises(StorageError, match=r"the temporary folder '.*' is full") as caught:
        torchedge.export(source, IN_HALVES, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


class OverThreeAxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv3d(1, 2, 3)

    def forward(self, x):
        return self.convolution(x)


class SumOfFiveAxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = self.convolution(x).view(1, 2, 2, 8, 8)
        return y + y


@pytest.mark.parametrize(
    ("network", "shape", "said"),
    [
        (OverThreeAxes, (1, 6, 6, 6), r"\(Conv\) works on 5 axes \[1, 2, 4, 4, 4\]"),
    ],
)
def test_five_axes_are_refused_before_the_conversion(
    litert, other_python, tmp_path, network, shape, said
):
    """A convolution over three axes once was converted, in float, and called a defect."""
    other_python(f"{SAYS_VERSION}exit 9")
    inputs = torch.rand(4, *shape)
    source = CompressedModel(
        module=network().eval(),
        example_inputs=(inputs[:1],),
        samples=(inputs,),
        calibration=(inputs,),
    ).save(tmp_path / "torch")
    with pytest.raises(ExportError, match=said) as caught:
        torchedge.export(source, exporting.target("android"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_conversion_that_does_not_end_is_given_up(litert, other_python, save_model, tmp_path):
    other_python(f"{SAYS_VERSION}exec sleep 30")
    onnx_folder, folder = tmp_path / "onnx", tmp_path / "tflite"
    onnx_folder.mkdir()
    folder.mkdir()
    step = exporting.target("raspberry-pi-5").steps[0]
    source = step.export(save_model("raspberry-pi-5"), onnx_folder)
    with pytest.raises(ExportError, match="did not finish within 1 s") as caught:
        OnnxToTFLite(precision="float16", time_limit_s=1.0).export(source, folder)
    assert [path.name for path in folder.iterdir()] == [FLOAT_FILE]  # not by onnx2tf
    Path(str(caught.value).split("output is in ")[1].split(". Replace")[0]).unlink()
