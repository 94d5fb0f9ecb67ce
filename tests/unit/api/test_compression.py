"""One call from a network to a verified artefact: data, labels, accuracy control, refusals."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torchedge
from torchedge.api import accuracy_control
from torchedge.api.accuracy_control import accuracy_drop, quantized_within
from torchedge.api.samples import Samples
from torchedge.errors import (
    ArtifactError,
    CalibrationError,
    OutputExistsError,
    SchemeError,
    UsageError,
    VerificationError,
)
from torchedge.exporting import Gate, load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.quantization.generated_data import generated_from_batchnorms

pytestmark = pytest.mark.filterwarnings("ignore:the range clips")  # of some ten pictures


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)),
    )
    net(2 * images(64) + 1)  # statistics of its own
    return net.eval()


def images(count):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def labelled(count):
    return TensorDataset(images(count), network()(images(count)).argmax(1))


def test_a_loader_with_labels_becomes_an_artefact_with_accuracies(tmp_path):
    report = torchedge.compress(
        network(), "onnx-cpu", DataLoader(labelled(40), 7), tmp_path / "x", effort="fast"
    )
    assert load_artifact(report.artifact.path).format == "onnx"
    assert report.stages[0].accuracy == 1
    assert report.parity.samples == 10  # one of four
    assert report.census.integer_share == 1
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [
        *("onnx", "report.json", "report.md", "torch"),
    ]
    assert "accuracy fell by 0.00% on 10 samples that did not calibrate." in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["raspberry-pi-4", "jetson", "arduino-nano-33-ble"])
def test_the_same_call_reaches_every_kind_of_target(target, tmp_path, request):
    request.getfixturevalue("needs_" + target.partition("-")[0])
    report = torchedge.compress(
        network(), target, images(64), tmp_path / "x", effort="fast", gate=Gate(forced=True)
    )
    assert report.target.name in {target, torchedge.target(target).name}
    assert report.artifact.path.is_dir()
    assert str(report).startswith("model for ")


@pytest.fixture
def needs_raspberry():
    pytest.importorskip("ai_edge_litert")


@pytest.fixture
def needs_jetson():
    return None


@pytest.fixture
def needs_arduino(needs_raspberry):
    return None


@pytest.mark.parametrize(
    "data",
    [
        lambda: images(16),
        lambda: list(images(16).split(4)),
        lambda: (batch for batch in images(16).split(4)),
        lambda: images(16).numpy(),
    ],
    ids=["tensor", "list", "generator", "array"],
)
def test_data_may_come_in_any_form(data, tmp_path):
    report = torchedge.compress(network(), "onnx-cpu", data(), tmp_path / "x", effort="fast")
    assert report.parity.samples == 4


def test_few_samples_are_used_twice_and_the_report_says_so(tmp_path):
    report = torchedge.compress(network(), "onnx-cpu", images(5), tmp_path / "x", effort="fast")
    assert report.notes[-1].endswith("on the 5 samples that calibrated, too")


def test_without_data_inputs_are_generated_from_the_batch_norms_and_called_so(tmp_path):
    report = torchedge.compress(
        *(network(), "onnx-cpu", None, tmp_path / "x"), effort="fast", example_inputs=images(1)
    )
    assert "16 generated inputs" in (tmp_path / "x" / "report.md").read_text()
    assert report.census.integer_share == 1


def test_generated_inputs_are_nearer_to_the_statistics_than_the_noise_they_began_as():
    net = network()
    made = generated_from_batchnorms(net, images(1), count=32)
    noise = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def distance(x):
        y = net[0](x).transpose(0, 1).flatten(1)
        return float((y.mean(1) - net[1].running_mean).square().sum().detach())

    assert distance(made) < 0.1 * distance(noise)


def test_without_data_and_without_batch_norms_it_is_refused(tmp_path):
    net = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(CalibrationError, match="no batch norm whose statistics"):
        torchedge.compress(net, "onnx-cpu", None, tmp_path / "x", example_inputs=torch.rand(1, 4))
    with pytest.raises(UsageError, match="without data give one input"):
        torchedge.compress(net, "onnx-cpu", None, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_exists_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_control, "quantize", lambda *_: pytest.fail("work was done"))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("kept")
    with pytest.raises(OutputExistsError):
        torchedge.compress(network(), "onnx-cpu", images(16), tmp_path / "x", max_drop=0.1)
    assert (tmp_path / "x" / "mine").read_text() == "kept"


def test_the_drop_is_of_accuracy_of_answers_or_of_signal():
    scores = np.eye(4, dtype=np.float32)
    turned = scores[[0, 1, 2, 0]]
    assert accuracy_drop([turned], [scores]) == 0.25
    assert accuracy_drop([turned], [scores], torch.tensor([0, 1, 2, 3])) == 0.25
    assert accuracy_drop([turned], [scores], torch.tensor([0, 1, 2, 0])) == -0.25
    pictures = np.ones((2, 3, 4, 4), np.float32)
    assert accuracy_drop([pictures * 0.9], [pictures]) == pytest.approx(0.1, rel=1e-5)


class Scores(nn.Module):
    """Answers with the first ``right`` samples as the float network, the others turned."""

    def __init__(self, right):
        super().__init__()
        self.right = right

    def forward(self, x):
        return torch.where(torch.arange(len(x))[:, None] < self.right, x, -x)


def attempts_of(monkeypatch, *right):
    made = []

    def attempts(*_):
        for number in right:
            made.append(number)
            yield f"attempt {number}", Scores(number)

    monkeypatch.setattr(accuracy_control, "_attempts", attempts)
    return made


@pytest.mark.parametrize(("max_drop", "tried"), [(0.5, [4]), (0.4, [4, 5]), (0.0, [4, 5, 8])])
def test_the_first_attempt_that_holds_is_taken_and_no_further_one_is_made(
    max_drop, tried, monkeypatch
):
    made = attempts_of(monkeypatch, 4, 5, 8)
    check = Samples(inputs=(torch.eye(8),))
    attempt = quantized_within(Scores(8), None, check, check, max_drop, lambda _: None)
    assert made == tried
    assert attempt.taken == f"attempt {tried[-1]}"


def test_where_none_holds_the_nearest_is_named(monkeypatch):
    attempts_of(monkeypatch, 4, 6, 5)
    check = Samples(inputs=(torch.eye(8),))
    with pytest.raises(VerificationError, match=r"nearest was attempt 6, with 25\.00%"):
        quantized_within(Scores(8), None, check, check, 0.1, lambda _: None)


class Wide(nn.Module):
    """An activation whose range is that of one channel which decides nothing."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 8)
        with torch.no_grad():
            self.first.bias[0] = 400.0
            self.second.weight[:, 0] = 0.0

    def forward(self, x):
        return self.second(self.first(x).relu())


def rows(count):
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(2))


def test_a_larger_effort_is_taken_where_the_smaller_one_loses_too_much(tmp_path):
    told = []
    report = torchedge.compress(
        *(Wide().eval(), "onnx-cpu", rows(256), tmp_path / "x"),
        max_drop=0.02,
        progress=told.append,
    )
    first, second = (float(line.rpartition(" ")[2].rstrip("%")) for line in told[:2])
    assert first > 2 >= second
    assert report.notes[-1].startswith("Quantised by effort 'balanced'; agreement")


@pytest.mark.slow
def test_after_the_efforts_layers_stay_in_float_and_then_the_network_is_trained():
    calibration = Samples(inputs=(rows(128),))
    torch.manual_seed(0)
    layers = (nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    net, scheme = nn.Sequential(*layers).eval(), torchedge.target("onnx-cpu").scheme
    made = dict(accuracy_control._attempts(net, scheme, calibration))
    names = list(made)
    assert names[:3] == ["effort 'fast'", "effort 'balanced'", "effort 'best'"]
    assert names[-1] == "self-distillation after that"
    assert names[3:-1] == [  # 256 and 512 of 2,816 products
        "effort 'best' with '4' in float (within 10% of the MACs)",
        "effort 'best' with '0' in float (within 20% of the MACs)",
    ]
    in_float = [o for o in torchedge.describe(made[names[3]]) if o.kind in {"float", "linear"}]
    assert [o.weight_bits for o in in_float] == [8, 8, None]
    before, after = (
        torch.cat([p.detach().flatten() for p in made[name].parameters()]) for name in names[-2:]
    )
    assert not torch.equal(before, after)


def test_a_network_is_exported_with_samples_and_refused_without(tmp_path):
    quantized = torchedge.quantize(network(), "onnx-cpu", images(32), effort="fast")
    with pytest.raises(UsageError, match="give samples="):
        torchedge.export(quantized, "onnx-cpu", tmp_path / "x")
    report = torchedge.export(quantized, "onnx-cpu", tmp_path / "x", samples=images(32))
    assert report.parity.samples == 32
    assert report.artifact.path == tmp_path / "x" / "onnx"


def test_an_export_that_is_not_verified_has_no_rows_and_says_why(tmp_path):
    quantized = torchedge.quantize(network(), "onnx-cpu", images(32), effort="fast")
    saved = torchedge.save(quantized, tmp_path / "saved", samples=images(8))
    report = torchedge.export(saved, "onnx-cpu", tmp_path / "x", verify=False)
    assert report.stages == ()
    assert report.parity is None
    assert "Nothing was run, because that was asked for." in str(report)


def test_a_folder_is_verified_anew_and_a_changed_file_is_found(tmp_path):
    torchedge.compress(network(), "onnx-cpu", images(32), tmp_path / "x", effort="fast")
    again = torchedge.verify(tmp_path / "x")
    assert [stage.name for stage in again.stages][-1] == "Q/DQ, ONNX Runtime"
    file = tmp_path / "x" / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError):
        torchedge.verify(tmp_path / "x")


@pytest.mark.parametrize("report", [None, "no json", "[]", "{}", '{"target": 3}'])
def test_a_folder_without_a_report_of_ours_is_refused(report, tmp_path):
    if report is not None:
        (tmp_path / "report.json").write_text(report)
    with pytest.raises(ArtifactError):
        torchedge.verify(tmp_path)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda out: torchedge.compress(network(), "onnx-cpu", images(16), None), "out is None"),
        (
            lambda out: torchedge.compress(network(), "onnx-cpu", images(16), out, max_drop="1%"),
            "max_drop is '1%'",
        ),
        (
            lambda out: torchedge.compress(network(), "onnx-cpu", images(16), out, max_drop=2),
            "max_drop is 2",
        ),
        (
            lambda out: torchedge.compress(
                nn.Bilinear(2, 2, 1), "onnx-cpu", None, out, example_inputs=(torch.ones(1, 2),) * 2
            ),
            "the number of inputs is 2",
        ),
        (lambda out: torchedge.verify(None), "out is None"),
        (lambda out: torchedge.export(3, "onnx-cpu", out), "artifact_or_model is 3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, said, tmp_path):
    with pytest.raises(UsageError, match=said) as caught:
        call(tmp_path / "x")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_float_network_is_not_exported_where_integers_run(tmp_path):
    with pytest.raises(SchemeError, match=r"call torchedge\.compress, or torchedge\.quantize"):
        torchedge.export(network(), "onnx-cpu", tmp_path / "x", samples=images(16))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "labels", [[1, 0], torch.rand(16), torch.full((16,), 5)], ids=["few", "floats", "beyond"]
)
def test_labels_that_are_no_indices_are_refused_before_any_work(labels, tmp_path, monkeypatch):
    module = "torchedge.api.compression.quantize"
    monkeypatch.setattr(module, lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(CalibrationError, match="label"):
        torchedge.compress(network(), "onnx-cpu", images(16), tmp_path / "x", labels=labels)


def test_labels_of_a_loader_are_left_out_where_the_network_has_no_scores(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    report = torchedge.compress(
        net, "onnx-cpu", DataLoader(labelled(32), 8), tmp_path / "x", effort="fast"
    )
    assert [stage.accuracy for stage in report.stages] == [None] * 3
    assert "agreement with the float network" in report.notes[-1]


def test_where_outputs_are_no_scores_the_ladder_ends_without_distillation(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with pytest.raises(VerificationError, match=r"no attempt kept the drop within 0\.00%"):
        torchedge.compress(net, "onnx-cpu", images(32), tmp_path / "x", max_drop=0.0)
    assert not (tmp_path / "x").exists()


def test_a_generator_of_samples_is_saved_whole(tmp_path):
    saved = torchedge.save(
        network(), tmp_path / "x", samples=(batch for batch in images(12).split(4))
    )
    assert len(load_samples(saved.file(SAMPLES_FILE)).inputs[0]) == 12
