import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exporters.torchedge_tensorrt.device_outputs import LAYERS_BEFORE_11
from tests.exporters.torchedge_tensorrt.fake_trtexec import write_fake_trtexec

SCRIPTS = ("build_engine.py", "benchmark.py")
OLDEST = (3, 6) if sys.version_info < (3, 13) else (3, 7)  # 3.13 no longer parses as 3.6
STANDARD_LIBRARY_OF_3_6 = {
    "argparse",
    "array",
    "ctypes",
    "glob",
    "hashlib",
    "json",
    "math",
    "os",
    "re",
    "shutil",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
}
ARGUMENTS_SINCE_3_7 = {"capture_output", "text", "dirs_exist_ok", "missing_ok"}


@pytest.fixture
def python36() -> str:
    """A Python 3.6 that runs, as JetPack 4 has it."""
    found = shutil.which("python3.6")
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode != 0:
        pytest.skip("there is no python3.6 here")
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_the_syntax_of_python_3_6(copied_bundle: Path, name: str) -> None:
    ast.parse((copied_bundle / name).read_text(), feature_version=OLDEST)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_plain_ascii_for_boards_with_an_ascii_locale(
    copied_bundle: Path, name: str
) -> None:
    assert (copied_bundle / name).read_bytes().isascii()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_nothing_but_the_standard_library_and_tensorrt(
    copied_bundle: Path, name: str
) -> None:
    nodes = list(ast.walk(ast.parse((copied_bundle / name).read_text())))
    imported = {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported <= STANDARD_LIBRARY_OF_3_6 | {"tensorrt"}
    assert not [node for node in nodes if isinstance(node, ast.ImportFrom)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_passes_no_argument_that_python_3_6_lacks(copied_bundle: Path, name: str) -> None:
    tree = ast.parse((copied_bundle / name).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    used = {keyword.arg for call in calls for keyword in call.keywords}
    assert "universal_newlines" in used
    assert not used & ARGUMENTS_SINCE_3_7


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself_on_the_board(copied_bundle: Path, name: str) -> None:
    command = [sys.executable, str(copied_bundle / name), "--help"]
    assert "on this Jetson" in subprocess.run(command, capture_output=True, text=True).stdout


def test_an_error_is_one_line_and_exit_code_1(copied_bundle: Path) -> None:
    (copied_bundle / "model_qdq.onnx").write_bytes(b"changed on the way")
    command = [sys.executable, str(copied_bundle / "build_engine.py")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: model_qdq.onnx does not match its SHA-256; copy it again.\n"


def test_both_scripts_run_under_python_3_6_with_a_fake_trtexec(
    copied_bundle: Path, tmp_path: Path, python36: str
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 8201, layers=LAYERS_BEFORE_11, medians=[1, 2, 3])
    for script, flags in (("build_engine.py", ["--any-device"]), ("benchmark.py", [])):
        command = [python36, str(copied_bundle / script), "--trtexec", str(trtexec), *flags]
        result = subprocess.run(command, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")
    measured = json.loads((copied_bundle / "benchmark.json").read_text())
    assert measured["gpu_compute_time_median_ms"] == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_vermin_finds_nothing_newer_than_python_3_6_in_a_script(
    copied_bundle: Path, name: str
) -> None:
    pytest.importorskip("vermin")
    vermin = str(Path(sys.executable).with_name("vermin"))
    command = [vermin, "--target=3.6-", "--violations", "--no-tips"]
    result = subprocess.run(
        [*command, str(copied_bundle / name)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
