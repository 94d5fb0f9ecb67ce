import ast
import json
import os
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
PYTHONS_OF_JETPACK = ("3.6", "3.8", "3.10", "3.12")
ARGUMENTS_SINCE_3_7 = {"capture_output", "text", "dirs_exist_ok", "missing_ok"}


@pytest.fixture(params=PYTHONS_OF_JETPACK)
def old_python(request: pytest.FixtureRequest) -> str:
    """A Python as some JetPack has it: on the PATH, or kept by pyenv."""
    name = f"python{request.param}"
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(name), *sorted(kept.glob(f"{request.param}.*/bin/{name}"))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    pytest.skip(f"there is no {name} here")


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
    tree = ast.parse((copied_bundle / name).read_text())
    at_run_time = [node for node in tree.body if not is_for_type_checkers(node)]
    nodes = [node for part in at_run_time for node in ast.walk(part)]
    imported = {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported <= STANDARD_LIBRARY_OF_3_6 | {"tensorrt"}
    assert not [node for node in nodes if isinstance(node, ast.ImportFrom)]


def is_for_type_checkers(node: ast.stmt) -> bool:
    """An ``if TYPE_CHECKING:``, which never runs: the name is False in the script itself."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


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


def test_both_scripts_run_under_the_pythons_of_jetpack_with_a_fake_trtexec(
    copied_bundle: Path, tmp_path: Path, old_python: str
) -> None:
    medians = [1, 2, 3, 4, 5, 6]  # three repetitions of INT8, then of FP16
    trtexec = write_fake_trtexec(tmp_path, 8201, layers=LAYERS_BEFORE_11, medians=medians)
    for script, flags in (
        ("build_engine.py", ["--any-device"]),
        ("benchmark.py", ["--idle-s", "0"]),
    ):
        command = [old_python, str(copied_bundle / script), "--trtexec", str(trtexec), *flags]
        result = subprocess.run(command, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")
    engines = json.loads((copied_bundle / "benchmark.json").read_text())["engines"]
    assert [engine["gpu_compute_time_median_ms"] for engine in engines] == [2, 5]


@pytest.fixture
def fake_module(tmp_path: Path) -> Path:
    """A folder where ``import tensorrt`` finds the fake, in syntax that Python 3.6 reads."""
    folder = tmp_path / "packages"
    for name in ("device_outputs", "fake_tensorrt", "tensorrt_members"):
        path = folder / "tests" / "exporters" / "torchedge_tensorrt" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        tree = ast.parse(Path(__file__).with_name(path.name).read_text())
        path.write_text(ast.unparse(WithoutAnnotations().visit(tree)))
    fake = "tests.exporters.torchedge_tensorrt.fake_tensorrt"
    (folder / "tensorrt.py").write_text(
        f"import ctypes, os, pathlib, sys\nfrom {fake} import FakeCudart, fake_tensorrt\n"
        "module = sys.modules[__name__] = fake_tensorrt(os.environ['FAKE_VERSION'])\n"
        "module.cudart = FakeCudart(pathlib.Path(os.environ['BUNDLE']))\n"
        "ctypes.CDLL = lambda name: module.cudart\n"
    )
    return folder


class WithoutAnnotations(ast.NodeTransformer):
    """Takes types out of code: ``list[str]`` and ``int | None`` are errors to Python 3.6."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        assert node.value is not None
        return ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == "collections.abc" else node


@pytest.mark.parametrize("calibration", ["qdq", "cache"])
def test_build_engine_runs_under_the_pythons_of_jetpack_with_a_fake_module_of_its_tensorrt(
    copied_bundle: Path, fake_module: Path, old_python: str, calibration: str
) -> None:
    versions = {"3.6": "8.2.1.8", "3.8": "8.5.2.2", "3.10": "10.3.0.30", "3.12": "10.16.2.10"}
    version = next(v for python, v in versions.items() if old_python.endswith(f"python{python}"))
    environment = {"PYTHONPATH": str(fake_module), "FAKE_VERSION": version, "PATH": ""}
    environment["BUNDLE"] = str(copied_bundle)
    script = str(copied_bundle / "build_engine.py")
    command = [old_python, script, "--any-device", "--calibration", calibration]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    asked = json.loads((copied_bundle / "model.engine").read_text())
    assert asked["flags"] == ["INT8", "FP16"]
    assert asked["quantizers"] is (calibration == "qdq")
    record = json.loads((copied_bundle / "engines.json").read_text())
    tensorrt = ".".join(version.split(".")[:3])
    found = [(e["precision"], e["tensorrt"], e["int8_layers"]) for e in record["engines"]]
    assert found == [("int8", tensorrt, 2), ("fp16", tensorrt, 0)]
    assert [e["golden"]["top1_agreement"] for e in record["engines"]] == [1, 1]


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


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_a_board_prints_moves_no_cursor_and_fits_its_terminal(
    copied_bundle: Path, name: str, encoding: str
) -> None:
    """A name in a manifest reached the terminal raw, and ended Python 3.6 in a C locale."""
    path = str(copied_bundle / name)
    code = (
        f"import runpy; shown = runpy.run_path({path!r}, run_name='x')['shown']\n"
        "print(shown('a\\x1b[31m\\r\\u202e\\udcff\u7db2'))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, env=environment, check=True)
    end = "\u7db2" if encoding == "utf-8" else "\\u7db2"
    assert result.stdout.decode(encoding) == "a\\x1b[31m\\r\\u202e\\udcff" + end + "\n"
