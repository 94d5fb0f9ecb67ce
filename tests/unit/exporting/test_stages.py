"""Every form of a network is held against the user's float network, in Python as in the shell."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import torchedge
from tests.conftest import quantized
from torchedge import exporting
from torchedge.bench.gate import Gate
from torchedge.cli import main
from torchedge.compressed import CompressedModel
from torchedge.errors import VerificationError
from torchedge.exporting.artifact import load_artifact, write_artifact
from torchedge.exporting.pipeline import export_chain
from torchedge.exporting.samples import SAMPLES_FILE, load_samples, save_samples
from torchedge.exporting.stages import verified_stages
from torchedge.report import verify

TARGET = exporting.target("onnx-cpu")


@pytest.fixture
def ruined(tmp_path):
    """A line between two classes, calibrated to a hundredth of the range: half of it is blind."""
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    module = quantized(net.eval(), x, TARGET.scheme)
    for quantizer in module.quantizers.children():
        quantizer.set_range(quantizer.low * 0.01, quantizer.high * 0.01)
    return CompressedModel(
        module=module, example_inputs=(x[:1],), samples=(x,), scheme=TARGET.scheme
    ).save(tmp_path / "ruined")


def without_float_answers(artifact):
    """As an earlier version saved it."""
    path = artifact.file(SAMPLES_FILE)
    save_samples(replace(load_samples(path), float_answers=()), path)
    return write_artifact(artifact)


def far(artifact, share):
    """The float network answers otherwise on so many of the samples."""
    path = artifact.file(SAMPLES_FILE)
    samples = load_samples(path)
    (answers,) = (np.array(a) for a in samples.float_answers)
    count = round(share * len(answers))
    answers[:count] = np.roll(samples.expected[0][:count], 1, axis=1)
    answers[count:] = samples.expected[0][count:]
    save_samples(replace(samples, float_answers=(answers,)), path)
    return write_artifact(artifact)


def test_every_row_is_compared_with_the_float_network_by_a_second_count(net, images, save_model):
    source = save_model(labels=None)
    with torch.no_grad():
        wanted = net.eval()(images).argmax(1).numpy()
    expected = load_samples(source.file(SAMPLES_FILE)).expected[0].argmax(1)
    agreement = float(np.mean(wanted == expected))
    first, *others = verified_stages(source, (), Gate(forced=True))
    assert (first.name, first.parity) == ("float32, PyTorch", None)
    assert [stage.like_float.top1_agreement for stage in others] == [agreement]


def test_the_float_networks_accuracy_is_counted_where_nobody_told_it(net, images, save_model):
    first, *_ = verified_stages(save_model(), ())
    with torch.no_grad():
        right = net.eval()(images).argmax(1) == torch.arange(32) % 4
    assert first.accuracy == pytest.approx(float(right.float().mean()))
    assert first.measured_by == ""


def test_a_float_source_is_the_first_row_itself(net, save_model):
    (stage,) = verified_stages(save_model(module=net, scheme=None), ())
    assert stage.name == "float32, PyTorch"
    assert stage.like_float.top1_agreement == 1


def test_below_nine_of_ten_the_command_ends_with_1_and_python_raises(save_model, tmp_path, capsys):
    source, out = far(save_model(), 0.125), tmp_path / "out"
    words = ["export", str(source.path), "--target", "onnx-cpu", "--out", str(out)]
    assert main(words) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert "top-1 agreement 87.50% on 32 samples, less than 90%" in line
    assert "--force" in line
    with pytest.raises(VerificationError, match=r"top-1 agreement 87\.50% on 32 samples"):
        torchedge.export(source, TARGET, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "gate"),
    [(["--min-agreement", "0.8"], Gate(agreement=0.8)), (["--force"], Gate(forced=True))],
)
def test_the_gate_is_moved_or_passed_when_asked(words, gate, save_model, tmp_path):
    source, out = far(save_model(), 0.125), tmp_path / "out"
    command = ["export", str(source.path), "--target", "onnx-cpu", "--out", str(out)]
    assert main([*command, *words]) == 0
    plain = json.loads((out / "report.json").read_text())
    assert [s["like_float"]["top1_agreement"] for s in plain["stages"][1:]] == [0.875, 0.875]
    forced = "exported all the same" in (out / "report.md").read_text()
    assert forced == gate.forced
    torchedge.export(source, TARGET, tmp_path / "python", gate=gate)


def test_a_limit_that_is_no_share_is_refused_before_any_work(capsys):
    assert main(["export", "nowhere", "--target", "onnx-cpu", "--min-agreement", "90"]) == 2
    assert "a least agreement of 90 is no share" in capsys.readouterr().err


def test_three_of_32_wrong_pass(save_model, tmp_path):
    torchedge.export(far(save_model(), 3 / 32), TARGET, tmp_path / "out")


def test_a_calibration_that_clips_everything_does_not_pass(ruined, tmp_path):
    with pytest.raises(VerificationError, match="is too far from its float network"):
        torchedge.export(ruined, TARGET, tmp_path / "out")


def test_nothing_is_converted_for_a_network_that_is_too_far(save_model, tmp_path, monkeypatch):
    source = far(save_model(), 0.5)
    monkeypatch.setattr(
        "torchedge.exporting.pipeline.export_chain", lambda *_: pytest.fail("work was done")
    )
    with pytest.raises(VerificationError, match="too far"):
        torchedge.export(source, TARGET, tmp_path / "out")


def test_an_artefact_of_an_earlier_version_is_exported_and_says_what_is_missing(
    save_model, tmp_path
):
    source = without_float_answers(save_model())
    (tmp_path / "out").mkdir()
    report = verify(source, export_chain(source, TARGET, tmp_path / "out"), TARGET)
    assert report.stages[0].missing == "not given"
    assert "| float32, PyTorch | not given |" in report.to_markdown()
    assert "- float network: not given." in report.to_markdown()
    assert all(stage.like_float is None for stage in report.stages)
    assert json.loads(report.to_json())["not_run"] == []
    torchedge.export(load_artifact(source.path), TARGET, str(tmp_path / "again"))


def test_maps_are_held_against_the_float_network_in_decibels(images, tmp_path):
    module = quantized(nn.Sequential(nn.Conv2d(1, 3, 3)).eval(), images, TARGET.scheme)
    source = CompressedModel(
        module=module, example_inputs=(images[:1],), samples=(images,), scheme=TARGET.scheme
    ).save(tmp_path / "m")
    _, stage = verified_stages(source, ())
    decibels = stage.like_float.outputs[0].sqnr_db
    assert stage.like_float.top1_agreement is None
    assert 30 < decibels < 60  # eight bits, of which two to four are lost to the range
    with pytest.raises(VerificationError, match=f"SQNR {decibels:.1f} dB on 32 samples, less"):
        torchedge.export(source, TARGET, tmp_path / "out", gate=Gate(sqnr_db=decibels + 1))


def test_exported_in_python_what_answers_differently_is_refused(save_model, tmp_path, monkeypatch):
    from contextlib import nullcontext

    class Shuffled:
        format, label = "onnx", "shuffled"

        def open(self, artifact):
            generator = np.random.default_rng(0)
            return nullcontext(lambda *_: (generator.random((1, 4), dtype=np.float32),))

    from torchedge.exporting import stages

    known = stages.known_runner
    monkeypatch.setattr(stages, "known_runner", lambda f: Shuffled() if f == "onnx" else known(f))
    with pytest.raises(VerificationError, match="agrees with the PyTorch model on"):
        torchedge.export(save_model(), TARGET, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("runtime_apart", "float_apart", "passes"),
    [
        (1.0, 3.0, True),
        (1.0, -0.5, False),
        (4.0, 6.0, True),  # further from the reference, and nearer to float than that is
        (4.0, -6.0, False),
        (10.0, 60.0, False),  # what is hardly like float hides nothing
    ],
)
def test_a_runtime_as_near_as_the_reference_is_to_float_may_choose_another_class(
    runtime_apart, float_apart, passes, save_model, monkeypatch
):
    from contextlib import nullcontext

    from torchedge.exporting import stages

    source = save_model()
    path = source.file(SAMPLES_FILE)
    samples = load_samples(path)
    step = np.array([1, 0, 0, 0], np.float32)
    expected = np.tile(np.array([20, 20.5, 0, 0], np.float32), (len(samples.expected[0]), 1))
    apart = expected + np.float32(float_apart) * step
    save_samples(replace(samples, expected=(expected,), float_answers=(apart,)), path)
    answers = nullcontext(lambda *_: (expected[:1] + np.float32(runtime_apart) * step,))
    runner = type("Runner", (), {"label": "other", "open": lambda *_: answers})
    monkeypatch.setattr(stages, "known_runner", lambda _: runner())
    refused = pytest.raises(VerificationError, match=r"agrees with the PyTorch model on 0\.00%")
    with nullcontext() if passes else refused:
        *_, stage = stages.verified_stages(source, (), Gate(forced=True))
        assert stage.parity.top1_agreement == 0
