"""The import graph is a DAG, the core never imports a plugin, and looking costs nothing."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import torchedge
import torchedge_edgetpu
import torchedge_onnx
import torchedge_tensorrt
import torchedge_tflite
import torchedge_tflite_micro

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "pytorch_lightning", "onnx", "onnxruntime", "tensorrt", "torchvision", "numpy"}
HEAVY |= {"tensorflow", "onnx2tf", "ai_edge_litert", "tflite_micro"}


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def relative(path):
    return str(path.relative_to(ROOT))


def imported_modules(file):
    tree = ast.parse(file.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return names | {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}


def modules_after(code):
    code += "; import sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("file", sources("torchedge"), ids=relative)
def test_the_core_imports_no_plugin(file):
    assert not {name for name in imported_modules(file) if name.startswith("torchedge_")}


@pytest.mark.parametrize("file", sources("torchedge", "exporters"), ids=relative)
def test_no_file_unpickles_or_runs_a_shell(file):
    tree = ast.parse(file.read_text())
    assert not imported_modules(file) & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        text = ast.unparse(call)
        assert "torch.load(" not in text or "weights_only=True" in text
        assert "shell=True" not in text
        assert not (isinstance(call.func, ast.Name) and call.func.id in {"eval", "exec"})


@pytest.mark.parametrize("file", sources("torchedge", "exporters"), ids=relative)
def test_one_room_starts_programs_and_one_makes_temporary_folders(file):
    """Anywhere else they would outlive a kill; what runs on boards has nothing of torchedge.

    A probe's child ends with its input, which this process alone holds open.
    """
    if "device_scripts" in file.parts or relative(file).startswith("torchedge/writing/"):
        return
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(file.read_text())) if is_call(n)}
    if file.name not in {"children.py", "launch_child.py", "probe.py"}:
        starts = "run", "Popen", "call", "check_call", "check_output"
        assert not calls & {f"subprocess.{name}" for name in starts}
    assert not calls & {"tempfile.TemporaryDirectory", "tempfile.mkdtemp"}


def is_call(node):
    return isinstance(node, ast.Call)


def test_functional_modules_hold_no_classes():
    for file in ROOT.glob("torchedge/*/functional.py"):
        assert not [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ClassDef)]


def test_importing_torchedge_loads_nothing_else():
    loaded = modules_after("import torchedge") - modules_after("pass")
    assert loaded == {"torchedge", "torchedge.version"}


@pytest.mark.parametrize(
    "module",
    [
        "torchedge.cli",
        "torchedge.devices",
        "torchedge.scheme",
        "torchedge_edgetpu.targets",
        "torchedge_onnx.targets",
        "torchedge_tensorrt.targets",
        "torchedge_tflite.targets",
        "torchedge_tflite_micro.targets",
    ],
)
def test_importing_it_loads_no_heavy_package(module):
    assert not (HEAVY - {"numpy"}) & modules_after(f"import {module}")


@pytest.mark.parametrize("module", ["torchedge.bench", "torchedge.exporting", "torchedge.report"])
def test_export_and_bench_do_not_need_torch(module):
    assert not (HEAVY - {"numpy"}) & modules_after(f"import {module}")


@pytest.mark.parametrize("arguments", [["targets"], ["export", "--help"], ["benchmark", "--help"]])
def test_looking_at_targets_or_help_loads_no_heavy_package(arguments):
    loaded = modules_after(f"from torchedge.cli import main; main({arguments!r})")
    assert not (HEAVY - {"numpy"}) & loaded


def test_opening_a_torch_artefact_does_not_wait_for_lightning():
    assert "pytorch_lightning" not in modules_after("import torchedge.compressed")


def public_modules():
    packages = torchedge, torchedge_edgetpu, torchedge_onnx, torchedge_tensorrt, torchedge_tflite
    for package in (*packages, torchedge_tflite_micro):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "device_scripts" not in found.name and "templates" not in found.name:
                yield found.name


@pytest.mark.parametrize("name", sorted(public_modules()))
def test_what_a_module_offers_is_sorted_and_there(name):
    module = importlib.import_module(name)
    offered = getattr(module, "__all__", [])
    assert len(set(offered)) == len(offered)
    assert all(hasattr(module, entry) for entry in offered)


@pytest.mark.parametrize("file", sources("scripts", "recipes"), ids=relative)
def test_no_script_hides_a_standard_module(file):
    assert file.stem not in sys.stdlib_module_names
