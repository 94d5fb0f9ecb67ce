"""Files of other precisions and other ends, each opened again, with floats as their reference."""

import copy

import numpy as np
import pytest
import torch

import torchedge
from tests.exporters.torchedge_tflite.networks import Wide
from torchedge import exporting
from torchedge.bench import Gate
from torchedge.cli import main
from torchedge.errors import SchemeError, UnknownNameError, UsageError
from torchedge.exporting import Normalisation, load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.exporting.target import configured
from torchedge.report.verify import verify
from torchedge_onnx.import_model import import_onnx
from torchedge_tflite.census import file_census, forbidden_operators
from torchedge_tflite.flatbuffer import read_model
from torchedge_tflite.metadata import read_embedded
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.step import FLOAT_FILE, MODEL_FILE, OnnxToTFLite

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def written(converter, float_artifact, onnx_artifact, tmp_path_factory):
    """Converts the wide network, float or trained, once for each set of options."""
    sources, done = {}, {}
    known = {
        "class_names": tuple("abcd"),
        "normalisation": Normalisation(mean=(0.5,), deviation=(0.25,)),
    }

    def write(*, trained=False, **options):
        key = (trained, *sorted(options.items()))
        if trained not in sources:
            sources[trained] = onnx_artifact("Wide") if trained else float_artifact("Wide", **known)
        if key not in done:
            folder = tmp_path_factory.mktemp("written")
            done[key] = OnnxToTFLite(**options).export(sources[trained], folder)
        return done[key]

    return write


def answers(artifact):
    samples = load_samples(artifact.file(SAMPLES_FILE))
    with TFLiteRunner().open(artifact) as session:
        return np.concatenate([session(*x)[0] for x in samples.batches(1)]), samples


def dtypes(artifact):
    flat = read_model(artifact.file(MODEL_FILE))
    return [flat.tensors[i].dtype for i in (*flat.inputs, *flat.outputs)]


class TestFloats:
    pytestmark = slow

    def test_float32_answers_like_the_float_network(self, written):
        artifact = written(precision="float32")
        found, samples = answers(artifact)
        np.testing.assert_allclose(found, samples.expected[0], atol=1e-5)
        assert artifact.file(MODEL_FILE).stat().st_size > 4 * (512 * 64 + 64 * 4)
        assert file_census(artifact.file(MODEL_FILE)).integer_share == 0

    def test_float16_answers_like_a_network_whose_weights_were_rounded_to_16_bits(self, written):
        artifact = written(precision="float16")
        found, samples = answers(artifact)
        rounded = copy.deepcopy(wide_network())
        for parameter in rounded.parameters():
            parameter.data = parameter.data.half().float()
        with torch.no_grad():
            wanted = rounded(torch.from_numpy(samples.inputs[0])).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert np.abs(found - samples.expected[0]).max() > 1e-5

    def test_float16_takes_half_the_bytes_and_floats_at_both_ends(self, written):
        whole, half = written(precision="float32"), written(precision="float16")
        weights = 512 * 64 + 64 * 4 + 8 * 9
        saved = whole.file(MODEL_FILE).stat().st_size - half.file(MODEL_FILE).stat().st_size
        assert 2 * weights - 4096 < saved <= 2 * weights
        assert dtypes(half) == ["float32", "float32"]
        assert file_census(half.file(MODEL_FILE)).integer_share == 0

    def test_dynamic_range_has_int8_weights_and_is_nowhere_called_int8(self, written):
        artifact = written(precision="dynamic-range")
        flat = read_model(artifact.file(MODEL_FILE))
        (hidden,) = [t for t in flat.tensors if t.shape == (64, 512)]
        assert hidden.dtype == "int8"
        assert dtypes(artifact) == ["float32", "float32"]
        census = file_census(artifact.file(MODEL_FILE))
        assert census.integer_share == 0
        assert "dynamic range: int8 weights, and activations in float" in {
            layer.reason for layer in census.layers
        }
        assert "int8" not in artifact.details["tflite_label"]
        assert artifact.details["precision"] == "dynamic-range"

    def test_dynamic_range_stays_within_the_steps_of_its_weights_and_activations(self, written):
        """Both of the hidden layer's operands move by half a step: |w|·dx + |x|·dw, summed."""
        found, samples = answers(written(precision="dynamic-range"))
        model = wide_network()
        x = torch.from_numpy(samples.inputs[0])
        with torch.no_grad():
            stem = torch.flatten(torch.relu(model.stem(x)), 1)
            weight, last = model.hidden.weight, model.classifier.weight.abs()
            moved = stem.abs() * weight.abs().max() / 254
            hidden = moved.sum(1, keepdim=True) + stem.amax() / 254 * weight.abs().sum(1)
            limit = hidden @ last.T
        assert (np.abs(found - samples.expected[0]) <= limit.numpy()).all()

    def test_a_trained_network_in_floats_is_compared_with_its_float_form(self, written):
        artifact = written(trained=True, precision="float16")
        found, samples = answers(artifact)
        scale = np.abs(samples.expected[0]).max()
        assert np.abs(found - samples.expected[0]).max() < scale * 2**-9
        assert artifact.scheme is None
        assert all(spec.scale is None for spec in artifact.outputs)
        assert artifact.details["compared_with"].startswith("the float network with the trained")


def wide_network():
    torch.manual_seed(0)
    return Wide().eval()


class TestEnds:
    pytestmark = slow

    @pytest.mark.parametrize("io", ["uint8", "float32"])
    def test_other_ends_change_no_answer(self, written, io):
        whole = written(trained=True)
        other = written(trained=True, io=io)
        assert dtypes(whole) == ["int8", "int8"]
        assert dtypes(other) == [io, io]
        np.testing.assert_array_equal(answers(other)[0], answers(whole)[0])
        assert forbidden_operators(read_model(other.file(MODEL_FILE))) == ()
        assert file_census(other.file(MODEL_FILE)).integer_share == 1

    def test_unsigned_ends_have_the_trained_scale_and_a_zero_point_128_higher(self, written):
        ends = []
        for io in ("int8", "uint8"):
            flat = read_model(written(trained=True, io=io).file(MODEL_FILE))
            ends.append([flat.tensors[i] for i in (*flat.inputs, *flat.outputs)])
        for signed, unsigned in zip(*ends, strict=True):
            assert unsigned.scales == signed.scales
            assert unsigned.zero_points[0] == signed.zero_points[0] + 128


class TestCalibratedHere:
    pytestmark = slow

    def test_a_float_network_with_samples_becomes_integers_throughout(self, written):
        artifact = written()
        found, samples = answers(artifact)
        step = artifact.outputs[0].scale
        assert np.abs(found - samples.expected[0]).max() <= 1.01 * step
        assert artifact.scheme == exporting.target("android").scheme
        assert file_census(artifact.file(MODEL_FILE)).integer_share == 1
        assert "calibrated in this export on 16 samples" in artifact.details["compared_with"]

    def test_its_answers_are_near_those_of_the_float_network(self, written, float_artifact):
        found, _ = answers(written())
        wanted = load_samples(float_artifact("Wide").file(SAMPLES_FILE)).expected[0]
        error = np.square(found - wanted).mean() / np.square(wanted).mean()
        assert 0 < error < 10**-2.5  # 25 dB and better: three layers of 8 bits


class TestMetadata:
    pytestmark = slow

    @pytest.mark.parametrize("precision", ["float16", "int8"])
    def test_a_file_carries_labels_normalisation_and_the_hash_of_what_it_was_made_from(
        self, written, precision
    ):
        artifact = written(precision=precision)
        about = read_embedded(artifact.file(MODEL_FILE).read_bytes())
        assert about["class_names"] == ["a", "b", "c", "d"]
        assert about["normalisation"] == {"mean": [0.5], "deviation": [0.25]}
        assert about["made_from"]["format"] == "onnx"
        assert len(about["made_from"]["sha256"]) == 64
        assert artifact.normalisation.mean == (0.5,)


class TestTargets:
    pytestmark = slow

    def test_a_phone_gets_float16_and_a_report_that_says_so(
        self, converter, float_artifact, tmp_path
    ):
        words = ["--target", "android", "--precision", "float16", "--out", str(tmp_path / "out")]
        assert main(["export", str(float_artifact("Wide").path), *words]) == 0
        page = (tmp_path / "out/report.md").read_text()
        assert "float16, LiteRT" in page
        assert "Latency float32 / float16" in page
        assert "Integer share of the arithmetic: 0.0%" in page
        assert "| float32, ONNX Runtime |" in page
        assert "Differences are from the float model, the largest" in page
        assert load_artifact(tmp_path / "out/tflite").details["precision"] == "float16"

    def test_a_float_network_with_samples_goes_to_a_phone_in_int8(
        self, converter, float_artifact, tmp_path
    ):
        source, target = float_artifact("TwoSums"), exporting.target("android")
        untrained = exporting.Gate(forced=True)  # random scores lie close together
        artifact = torchedge.export(source, target, tmp_path / "out", gate=untrained).artifact
        report = verify(source, [artifact], target)
        assert report.census.integer_share == 1
        assert "compared with the network calibrated in this export" in report.to_markdown()


def test_a_float_network_without_samples_is_refused_in_one_line(litert, float_artifact, tmp_path):
    source = float_artifact("Wide", calibration=())
    with pytest.raises(SchemeError, match="neither quantisers nor calibration samples") as caught:
        torchedge.export(source, exporting.target("android"), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic-range"])
def test_other_ends_are_for_integers_only(precision):
    with pytest.raises(UsageError, match=f"precision {precision} takes and returns float32"):
        OnnxToTFLite(precision=precision, io="uint8")


def test_a_precision_that_tflite_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(UnknownNameError, match="int8, float32, float16, dynamic-range"):
        configured(exporting.target("android"), precision="fp16")


def test_a_phone_has_no_jetpack():
    with pytest.raises(UnknownNameError, match="leave --jetpack out"):
        configured(exporting.target("android"), jetpack="6.0")


def test_the_float_twin_is_written_beside_every_precision(written):
    assert written(precision="float32").file(FLOAT_FILE).is_file()


class TestForeign:
    pytestmark = slow

    def test_an_onnx_file_from_elsewhere_goes_to_a_phone_in_int8(self, litert, tmp_path):
        path = tmp_path / "elsewhere.onnx"
        torch.onnx.export(
            wide_network(),
            (torch.rand(1, 1, 8, 8),),
            path,
            input_names=["image:0"],
            output_names=["scores.1"],
            external_data=False,
            verbose=False,
        )
        random = np.random.default_rng(0)
        batches = [(random.random((1, 1, 8, 8), np.float32),) for _ in range(24)]
        source, target = import_onnx(path, batches, tmp_path / "onnx"), exporting.target("android")
        untrained = Gate(forced=True)  # random scores lie close together
        artifact = torchedge.export(source, target, tmp_path / "out", gate=untrained).artifact
        report = verify(source, [artifact], target, untrained)
        assert report.census.integer_share == 1
        assert report.parity.outputs[0].max_lsb <= 1.01
