"""The wheel as a stranger gets it: built, installed into an empty environment, used elsewhere."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.packaging


def run(*command, **options):
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """A folder outside the repository with an environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=True)
    pip = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet"]
    run(*pip, "--constraint", ROOT / "scripts/constraints.txt", f"{wheel}[recipes]")
    return folder


def test_the_wheel_holds_our_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    (metadata,) = {top for top in tops if top.endswith(".dist-info")}
    wanted = {"torchedge", "torchedge_edgetpu", "torchedge_onnx", "torchedge_tensorrt"}
    wanted |= {"torchedge_tflite", "torchedge_tflite_micro"}
    assert tops - {metadata} == wanted
    assert "torchedge/py.typed" in names
    assert "torchedge_tensorrt/device_scripts/build_engine.py" in names
    assert "torchedge_tensorrt/templates/README.md.j2" in names
    assert "torchedge_tflite_micro/templates/inference.cpp.j2" in names


def test_no_package_of_ours_is_called_exporters_or_recipes_after_installation(elsewhere):
    code = (
        "import importlib.util as u; print([n for n in ('exporters', 'recipes') if u.find_spec(n)])"
    )
    assert run(elsewhere / "venv/bin/python", "-c", code, cwd=elsewhere).strip() == "[]"


def test_targets_are_found_and_a_model_is_exported_outside_the_repository(elsewhere):
    tool = elsewhere / "venv/bin/torchedge"
    environment = {**os.environ, "PYTHONWARNINGS": "error::ImportWarning"}
    names = [row["name"] for row in json.loads(run(tool, "targets", "--json", cwd=elsewhere))]
    assert {"jetson", "onnx-cpu"} <= set(names)
    output = run(tool, "export", "--target", "jetson", cwd=elsewhere, env=environment)
    assert "TensorRT: not run" in output
    report = json.loads((elsewhere / "runs/digits-jetson/report.json").read_text())
    assert report["census"]["integer_share"] >= 0.99
