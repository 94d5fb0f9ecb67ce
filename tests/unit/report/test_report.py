import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from torchedge import exporting
from torchedge.errors import VerificationError
from torchedge.exporting.pipeline import export_chain
from torchedge.exporting.plugins import known_runner
from torchedge.report import verify
from torchedge.report.render import stage_rows


@pytest.fixture
def exported(save_model, tmp_path):
    def run(name):
        source = save_model(name, metrics={"float_accuracy": 0.75})
        (tmp_path / "out").mkdir()
        target = exporting.target(name)
        return source, export_chain(source, target, tmp_path / "out"), target

    return run


def test_a_report_names_every_stage_and_what_was_not_run(exported, monkeypatch):
    monkeypatch.setattr("torchedge_tensorrt.runner._GPU_NODES", ())
    report = verify(*exported("jetson"))
    assert [stage.name for stage in report.stages] == [
        "float32, PyTorch",
        "fake-quantised, PyTorch",
        "Q/DQ, ONNX Runtime",
        "TensorRT",
    ]
    assert report.stages[-1].accuracy is None
    assert "TensorRT: not run, engine not built here: no GPU" in report.to_markdown()
    assert report.census.evidence == "TensorRT's rules: eligible, not run"
    assert "not on Jetson Orin Nano" in report.to_markdown()


def test_markdown_and_json_show_the_same_figures(exported):
    report = verify(*exported("onnx-cpu"))
    plain = json.loads(report.to_json())
    assert len(plain["stages"]) == len(stage_rows(report))
    for stage in plain["stages"]:
        if stage["accuracy"] is not None:
            assert f"{stage['accuracy']:.2%}" in report.to_markdown()
    assert f"{plain['census']['integer_share']:.1%}" in report.to_markdown()
    assert f"ratio {plain['speed']['ratio']:.2f}" in report.to_markdown()


@pytest.mark.parametrize(("ratio", "said"), [(0.8, True), (1.0, False), (1.4, False)])
def test_the_report_says_where_integers_are_no_faster_than_floats(exported, ratio, said):
    report = verify(*exported("onnx-cpu"))
    changed = replace(report, speed=replace(report.speed, ratio=ratio))
    sentence = "int8 does not win on this computer: float32 takes 80% of its time"
    assert (sentence in changed.to_markdown()) == said


def test_integers_that_were_simulated_in_float_are_not_said_to_lose(exported):
    report = verify(*exported("onnx-cpu"))
    changed = replace(report, speed=replace(report.speed, ratio=0.5, integer_share=0.0))
    assert "does not win" not in changed.to_markdown()


def test_a_figure_of_training_is_marked_as_such(exported):
    report = verify(*exported("onnx-cpu"))
    assert report.stages[0].accuracy == 0.75
    assert "float32, PyTorch: measured by the recipe" in report.to_markdown()


def test_the_accuracy_is_measured_on_the_labels(exported):
    source, artifacts, target = exported("onnx-cpu")
    report = verify(source, artifacts, target)
    answers = load_answers(source)
    labels = np.arange(len(answers)) % 4
    assert report.stages[1].accuracy == np.mean(answers.argmax(1) == labels)


def load_answers(source):
    from torchedge.exporting.samples import SAMPLES_FILE, load_samples

    return load_samples(source.file(SAMPLES_FILE)).expected[0]


class Shuffled:
    """A runtime that answers something else."""

    format, label = "onnx", "shuffled"

    def open(self, artifact):
        from contextlib import nullcontext

        shape = artifact.outputs[0].shape
        answers = np.random.default_rng(0)
        return nullcontext(lambda *_: (answers.random(shape, dtype=np.float32),))


def test_an_artefact_that_answers_differently_is_refused(exported, monkeypatch):
    source, artifacts, target = exported("onnx-cpu")
    shuffled = {"onnx": Shuffled()}
    monkeypatch.setattr(
        sys.modules["torchedge.exporting.stages"],
        "known_runner",
        lambda f: shuffled.get(f) or known_runner(f),
    )
    with pytest.raises(VerificationError, match="agrees with the PyTorch model on"):
        verify(source, artifacts, target)


def test_paths_in_a_report_are_those_inside_the_export(exported):
    assert "| onnx/model.onnx |" in verify(*exported("onnx-cpu")).to_markdown()
