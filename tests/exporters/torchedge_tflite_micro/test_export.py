"""The whole way on the command line, from the trained network to the project and its report."""

import json
import re
from importlib.metadata import version

import pytest

from torchedge import exporting
from torchedge.backends import TFLITE
from torchedge.cli import main
from torchedge.exporting import load_artifact
from torchedge_tflite.flatbuffer import read_model
from torchedge_tflite_micro.operators import model_operators, resolver_method
from torchedge_tflite_micro.runner import TFLiteMicroRunner
from torchedge_tflite_micro.runtime import VERSION

TARGETS = ("arduino-nano-33-ble", "esp32", "esp32-s3", "stm32h7", "stm32f4", "rp2040")


@pytest.mark.parametrize("name", TARGETS)
def test_a_microcontroller_has_facts_with_a_source_and_trains_with_tflites_numbers(name):
    target = exporting.target(name)
    board = target.steps[-1].board
    assert target.name == name
    assert target.scheme == TFLITE
    assert target.device == board.device
    assert target.device.source
    assert board.source
    assert 0 < board.flash_bytes <= target.device.flash_bytes
    assert 0 < board.arena_limit_bytes <= board.ram_bytes <= target.device.ram_bytes


def test_the_runner_of_the_format_is_found_by_its_entry_point():
    assert isinstance(exporting.runner(exporting.Format("tflite-micro")), TFLiteMicroRunner)


def test_the_installed_runtime_is_the_one_that_messages_name(runtimes):
    assert version("tflite-micro") == VERSION


@pytest.mark.slow
def test_an_export_for_the_arduino_opens_everything_again_and_reports(
    runtimes, save_model, tmp_path, capsys
):
    names = ("north", "east", "south", "west")
    source, folder = save_model("arduino-nano-33-ble", class_names=names), tmp_path / "out"
    arguments = ["export", str(source.path), "--target", "arduino-nano-33-ble"]
    assert main([*arguments, "--out", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    stages = {stage["name"]: stage for stage in report["stages"]}
    for name in ("int8, LiteRT", "int8, TFLite Micro"):
        (output,) = stages[name]["parity"]["outputs"]
        assert output["max_lsb"] <= 1.001
    # The device rounds products twice, PyTorch and XNNPACK once.
    (output,) = stages["int8, LiteRT"]["parity"]["outputs"]
    assert output["identical_share"] >= 0.99
    assert report["census"]["integer_share"] == 1
    assert [memory["kind"] for memory in report["fit"]["memories"]] == ["flash", "RAM"]
    said = " ".join(capsys.readouterr().out.split())
    assert "of 262,144 bytes on Arduino Nano 33 BLE: tensor arena" in said
    assert "| tensor arena |" in (folder / "report.md").read_text()
    artifact = load_artifact(folder / "tflite-micro")
    assert artifact.details["simulator"] == "equal to tflite-micro on 4 samples"
    text = (artifact.path / "residual/src/inference.cpp").read_text()
    operators = model_operators(read_model(artifact.file("model.tflite")))
    assert re.findall(r"resolver\.(Add\w+)\(", text) == [resolver_method(o) for o in operators]
    assert '"south",' in (artifact.path / "residual/src/settings.cpp").read_text()
