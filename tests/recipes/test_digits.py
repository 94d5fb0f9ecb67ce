"""The main job as a user types it, on the real data; each run trains for about a minute."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run_main_job(target, folder):
    command = [sys.executable, str(ROOT / "scripts/export.py"), "--target", target]
    done = subprocess.run(
        [*command, "--out", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def onnx_cpu(tmp_path_factory):
    return run_main_job("onnx-cpu", tmp_path_factory.mktemp("digits") / "onnx-cpu")


@pytest.fixture(scope="module")
def jetson(tmp_path_factory):
    return run_main_job("jetson", tmp_path_factory.mktemp("digits") / "jetson")


def stage(report, name):
    return next(stage for stage in report["stages"] if stage["name"] == name)


def test_on_onnx_runtime_every_logit_is_within_one_step_and_99_percent_are_equal(onnx_cpu):
    _, report = onnx_cpu
    parity = stage(report, "Q/DQ, ONNX Runtime")["parity"]
    assert parity["samples"] == 1000
    assert parity["outputs"][0]["max_lsb"] <= 1.001
    assert parity["outputs"][0]["identical_share"] >= 0.99
    assert parity["top1_agreement"] >= 0.999


def test_on_onnx_runtime_99_percent_of_the_arithmetic_is_integer(onnx_cpu):
    assert onnx_cpu[1]["census"]["integer_share"] >= 0.99


def test_for_jetson_every_logit_is_within_a_thousandth_of_the_range(jetson):
    _, report = jetson
    parity = stage(report, "Q/DQ, ONNX Runtime")["parity"]
    assert parity["samples"] == 1000
    assert parity["outputs"][0]["relative_to_range"] <= 1e-3
    assert parity["top1_agreement"] >= 0.999


def test_for_jetson_the_arithmetic_is_eligible_and_not_called_run(jetson):
    output, report = jetson
    assert report["census"]["integer_share"] >= 0.99
    assert report["census"]["evidence"] == "TensorRT's rules: eligible, not run"
    assert "TensorRT: not run" in output  # and why, which depends on the machine


def assert_accuracies(report):
    accuracies = [stage["accuracy"] for stage in report["stages"] if stage["accuracy"] is not None]
    assert len(accuracies) == 3
    assert accuracies[0] >= 0.98
    # An accuracy of 1,000 images is a multiple of 0.001; the sum below is not exact in binary.
    assert min(accuracies) >= accuracies[0] - 0.005 - 1e-9


def test_for_onnx_runtime_float_reaches_98_percent_and_int8_stays_within_half_a_point(onnx_cpu):
    assert_accuracies(onnx_cpu[1])


def test_for_jetson_float_reaches_98_percent_and_int8_stays_within_half_a_point(jetson):
    assert_accuracies(jetson[1])
