"""Calls that people make every day or get wrong, all but the slowest of the benchmark."""

import sys

import pytest

from benchmarks import bad_calls
from benchmarks.bad_calls import NAMES, Outcome, outcome
from benchmarks.calls import kinds
from benchmarks.calls.scene import Scene
from torchedge.errors import UsageError

SLOW = {  # seconds each
    "torchedge.export(s.saved, 'onnx-cpu', s.new)",
    "torchedge.export(s.saved.path, 'onnx-cpu', s.new)",
    "export(artefact, target, folder)",
    "quantize(torch.compile(net))",
    "save(torch.compile)",
}
WORKS = {
    "calibrate(net, loader)",
    "calibrate(net, dataset)",
    "calibrate(net, tensor)",
    "calibrate(net, array of float64)",
    "calibrate(net, generator)",
    "calibrate(net, list of samples)",
    "calibrate(net, dictionary)",
    "calibrate(net, Data(…, key))",
    "calibrate(net, folder of classes)",
    "calibrate(net, half)",
    "calibrate(two inputs, pairs)",
    "calibrate(two inputs, dictionary)",
    "calibrate(net, data, 'minmax')",
    "quantize(net, target, x)",
    "quantize(net, …, Data(folder, input_shape))",
    "quantize(…, float_layers='0')",
    "quantize(DataParallel)",
    "quantize(names like ours)",
    "quantize(shared layers)",
    "quantize(without gradients)",
    "requantize(net, 'jetson', loader)",
    "sensitivity(net, loader)",
    "prepare_qat(net, 'jetson', x)",
    "prepare_qat(…, array)",
    "prepare_qat(…, loader)",
    "prepare_qat(…, {'input': x})",
    "prepare_qat(keeps activations)",
    "prune_to(net, x, macs=0.5)",
    "cache_teacher(net, loader)",
    "cache_teacher(net, tensor)",
    "save(str)",
    "save(loader)",
    "save(folder of pictures)",
    "save(array)",
    "save(list of labels)",
    "save(list of class names)",
    "save(quantised, scheme by name)",
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("calls"))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_it_works_or_ends_in_one_line_of_ours(scene, name):
    found = outcome(name, scene)
    assert found.result in ({"works"} if name in WORKS else {"works", "refused"}), found.text


@pytest.mark.parametrize("name", kinds.BASES)
def test_no_argument_of_another_kind_ends_in_a_raw_error(scene, name):
    given = {text: kinds.WRONG[text] for text in ("None", "5", "'x'", "[None]", "object()")}
    found = list(bad_calls.outcomes_of_kinds(name, scene, given))
    assert [outcome for outcome in found if outcome.result == "RAW"] == []
    assert any(outcome.result == "refused" for outcome in found)


def test_a_wrong_path_is_written_into_the_scene_and_nowhere_else(tmp_path, monkeypatch):
    for name in ("scene", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    scene = Scene(tmp_path / "scene")
    found = list(bad_calls.outcomes_of_kinds("cache_teacher", scene, {"'x'": "x"}))
    assert "works" in {outcome.result for outcome in found}
    assert (tmp_path / "scene/x").is_dir()
    assert list((tmp_path / "here").iterdir()) == []


def test_what_must_work_is_among_the_calls():
    assert set(NAMES) >= WORKS | SLOW
    assert len(NAMES) > 200


def _refused(text):
    def call(scene):
        raise UsageError(text)

    return call


def _raw(scene):
    raise KeyError("x")


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda scene: None, "works"),
        (_refused("it is 5; give 6."), "refused"),
        (_refused("wrong"), "RAW"),
        (_refused("it is 5; " + "give 6 " * 100), "RAW"),
        (_raw, "RAW"),
    ],
)
def test_only_a_line_with_a_way_out_passes_for_refused(monkeypatch, scene, call, result):
    monkeypatch.setitem(bad_calls._CALLS, "mine", call)
    assert outcome("mine", scene).result == result


@pytest.mark.parametrize(
    ("code", "said", "result"),
    [
        (0, "", "works"),
        (2, "error: it is 5; give 6.", "refused"),
        (1, "error: KeyError: 'x' (--debug shows where)", "RAW"),
        (2, "it is 5; give 6.", "RAW"),
        (3, "error: it is 5; give 6.", "RAW"),
        (1, "… training\nerror: it is 5; give 6.", "refused"),
    ],
)
def test_a_command_ends_in_one_line_and_with_one_or_two(monkeypatch, scene, code, said, result):
    def main(words):
        sys.stderr.write(f"{said}\n")
        return code

    monkeypatch.setattr(bad_calls, "torchedge_main", main)
    monkeypatch.setitem(bad_calls._COMMANDS, "mine", lambda scene: ["export"])
    found = outcome("mine", scene)
    assert isinstance(found, Outcome)
    assert found.result == result
