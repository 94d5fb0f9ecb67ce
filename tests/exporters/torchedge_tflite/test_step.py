"""What the files hold, looked at through LiteRT and not through the exporter's own reader."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest

import torchedge
from tests.exporters.torchedge_tflite.editing import with_grid
from torchedge import exporting
from torchedge.bench import compare
from torchedge.errors import SchemeError, VerificationError
from torchedge.exporting.samples import SAMPLES_FILE, Samples, load_samples
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_tflite.census import file_census, forbidden_operators
from torchedge_tflite.flatbuffer import WEIGHT_INPUT, parse, read_model
from torchedge_tflite.lowering.program import lowered
from torchedge_tflite.lowering.reading_back import require_trained
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.step import MODEL_FILE, OnnxToTFLite

NETWORKS = (
    *("Residual", "FourBits", "Padded", "Dense", "OneDimensional"),
    *("DepthwiseRow", "SmallUNet", "Gated", "TwoAnswers", "TwoSums"),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=NETWORKS)
def converted(request, exported):
    return exported(request.param)


def trained_tensors(artifact):
    """Scales and integers in the ONNX file: of activations a set, of constants with their count."""
    model = onnx.load(artifact.file(ONNX_FILE))
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    activations, constants = set(), Counter()
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            activations.add((values[node.input[1]].item(), int(values[node.input[2]])))
        elif node.op_type == "DequantizeLinear" and node.input[0] in values:
            constants[fingerprint(values[node.input[0]], values[node.input[1]])] += 1
    return activations, constants


def fingerprint(integers, scales):
    """The same for every order of the axes."""
    scales = np.unique(np.asarray(scales, np.float32))
    return np.sort(integers.ravel()).tobytes(), scales.tobytes()


def stored_tensors(artifact):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(artifact.file(MODEL_FILE)))
    constant = {t.index for t in read_model(artifact.file(MODEL_FILE)).tensors if t.bytes}
    activations, constants = set(), Counter()
    for detail in interpreter.get_tensor_details():
        numbers = detail["quantization_parameters"]
        if not len(numbers["scales"]):
            continue
        if detail["index"] in constant:
            integers = interpreter.get_tensor(detail["index"])
            constants[fingerprint(integers, numbers["scales"])] += 1
        else:
            activations.add((numbers["scales"].item(), numbers["zero_points"].item()))
    return activations, constants


def test_every_scale_zero_point_and_integer_is_the_trained_one(converted):
    wanted, found = trained_tensors(converted.onnx), stored_tensors(converted.tflite)
    assert found[0] == wanted[0]
    assert not wanted[1] - found[1]
    beyond = found[1] - wanted[1]  # an activation that is written as a line brings its own numbers
    lines = [t for t in read_model(converted.tflite.file(MODEL_FILE)).tensors if "/" in t.name]
    assert beyond.total() <= len([t for t in lines if t.values is not None])


def test_litert_is_within_one_step_of_pytorch(converted):
    samples = load_samples(converted.tflite.file(SAMPLES_FILE))
    expected = Samples(inputs=samples.expected, expected=()).batches(1)
    scales = [output.scale for output in converted.tflite.outputs]
    with TFLiteRunner().open(converted.tflite) as session:
        parity = compare(session, lambda *_: next(expected), samples.batches(1), scales=scales)
    assert all(output.max_lsb <= 1.001 for output in parity.outputs)
    assert all(output.identical_share >= 0.99 for output in parity.outputs)


def test_all_operators_are_integer_and_none_is_forbidden(converted):
    path = converted.tflite.file(MODEL_FILE)
    assert forbidden_operators(read_model(path)) == ()
    assert file_census(path).integer_share == 1
    assert all(layer.integer for layer in file_census(path).layers)


def test_the_float_twin_answers_like_the_float_network_in_onnx(converted):
    from torchedge_onnx.runner import OnnxRunner

    inputs = next(load_samples(converted.onnx.file(SAMPLES_FILE)).batches(1))
    with (
        TFLiteRunner().open_float(converted.tflite) as twin,
        OnnxRunner().open_float(converted.onnx) as float_network,
    ):
        for found, wanted in zip(twin(*inputs), float_network(*inputs), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def operators(artifact):
    return [operator.name for operator in read_model(artifact.file(MODEL_FILE)).operators]


def test_a_residual_network_has_exactly_the_operators_that_it_was_written_with(exported):
    assert operators(exported("Residual").tflite) == [
        *("PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD"),
        *("MAX_POOL_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED"),
    ]


def test_a_row_has_depthwise_convolutions_of_their_own_and_an_average_without_slices(exported):
    names = operators(exported("DepthwiseRow").tflite)
    assert [name for name in names if name != "RESHAPE"] == [
        *("CONV_2D", "MAX_POOL_2D", "DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D"),
        *("AVERAGE_POOL_2D", "FULLY_CONNECTED"),
    ]


def test_the_census_counts_by_hand(exported):
    # Stem 8·8·8·9, depthwise 8·8·8·9, projection 8·8·8·8, classifier 8·4.
    census = file_census(exported("Residual").tflite.file(MODEL_FILE))
    assert census.macs == 2 * 8 * 8 * 8 * 9 + 8 * 8 * 8 * 8 + 8 * 4


def test_borders_that_tensorflow_calls_same_elsewhere_are_written_out(exported):
    """A stride of 2 over an even size: TensorFlow's SAME would pad at one end only."""
    assert operators(exported("Padded").tflite)[:2] == ["PAD", "CONV_2D"]


def test_sums_are_not_transposed(exported):
    """onnx2tf once turned both operands back to channels first, and all later readers forth."""
    assert operators(exported("TwoSums").tflite) == [
        *("CONV_2D", "CONV_2D", "ADD", "CONV_2D", "ADD"),
    ]


def test_an_average_that_changes_the_scale_stays_a_mean(exported):
    """As a pool, which cannot rescale, it once got a QUANTIZE before it that cut values off."""
    assert "MEAN" in operators(exported("OneDimensional").tflite)


def test_linear_layers_have_one_scale_and_convolutions_one_for_each_channel(exported):
    flat = read_model(exported("Residual").tflite.file(MODEL_FILE))
    weighted = [op for op in flat.operators if op.name in WEIGHT_INPUT]
    scales = {op.name: len(flat.tensors[op.inputs[1]].scales) for op in weighted}
    assert scales["FULLY_CONNECTED"] == 1
    assert scales["CONV_2D"] == scales["DEPTHWISE_CONV_2D"] == 8


def test_reference_kernels_round_twice_and_stay_within_one_step(exported):
    artifact = exported("Residual").tflite
    samples = load_samples(artifact.file(SAMPLES_FILE))
    step = artifact.outputs[0].scale
    with (
        TFLiteRunner(kernels="reference").open(artifact) as plain,
        TFLiteRunner().open(artifact) as fast,
    ):
        found = np.array([plain(*x)[0] - fast(*x)[0] for x in samples.batches(1)])
    assert np.mean(np.abs(found) <= 1.01 * step) >= 0.99


def test_the_file_takes_int8_with_channels_last_and_says_so(exported):
    artifact = exported("Dense").tflite
    flat = read_model(artifact.file(MODEL_FILE))
    taken = flat.tensors[flat.inputs[0]]
    assert (taken.shape, taken.dtype) == ((1, 6, 5, 3), "int8")
    assert artifact.details["layout"] == "channels last"
    assert artifact.details["io_dtypes"] == ["int8"]
    assert artifact.details["deployed_files"] == [MODEL_FILE]


def test_the_manifest_and_the_file_name_no_folder_of_this_machine(exported):
    artifact = exported("Residual").tflite
    text = json.dumps(dict(artifact.details)) + repr(artifact.file(MODEL_FILE).read_bytes())
    assert "/tmp/" not in text


@pytest.mark.parametrize("place", ["input", "weight"])
def test_a_scale_that_is_not_the_trained_one_is_refused_by_name(exported, place):
    written = lowered(onnx.load(exported("Residual").onnx.file(ONNX_FILE)))
    flat = parse(written.data)
    tensor = flat.tensors[flat.operators[1].inputs[1] if place == "weight" else flat.inputs[0]]
    moved = np.nextafter(np.array(tensor.scales, np.float32), np.float32(1))
    changed = with_grid(written.data, tensor.index, moved, tensor.zero_points)
    with pytest.raises(VerificationError, match="please report the model"):
        require_trained(replace(written, data=changed))


def test_an_integer_that_is_not_the_trained_one_is_refused_by_name(exported):
    written = lowered(onnx.load(exported("Residual").onnx.file(ONNX_FILE)))
    flat = parse(written.data)
    weight = flat.tensors[flat.operators[1].inputs[1]]
    at = written.data.index(weight.values.tobytes())
    changed = bytearray(written.data)
    changed[at] ^= 1
    with pytest.raises(VerificationError, match=f"integers or scales of '{weight.name}'"):
        require_trained(replace(written, data=bytes(changed)))


@pytest.mark.parametrize("target", ["raspberry-pi-4", "raspberry-pi-5", "android"])
def test_a_model_of_another_scheme_is_refused(save_model, tmp_path, target):
    source = save_model("onnx-cpu")
    with pytest.raises(SchemeError, match="other numbers"):
        torchedge.export(source, exporting.target(target), tmp_path / "out")


def test_unsigned_activations_are_refused_with_the_nearest_scheme(save_model, tmp_path):
    (tmp_path / "onnx").mkdir()
    source = exporting.target("onnx-cpu").steps[0].export(save_model("onnx-cpu"), tmp_path / "onnx")
    with pytest.raises(SchemeError, match=r"unsigned.*int8, asymmetric"):
        OnnxToTFLite().export(source, tmp_path)
