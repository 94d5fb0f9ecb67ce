"""Whole files: in LiteRT equal to PyTorch on integers, and in float like ONNX Runtime."""

import numpy as np
import pytest
import torch

from tests.exporters.torchedge_tflite.lowering.networks import FUNCTIONS, NETWORKS, After
from torchedge.backends import TFLITE
from torchedge.bench import compare
from torchedge.compressed import CompressedModel
from torchedge.exporting.samples import SAMPLES_FILE, Samples, load_samples
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_onnx.runner import OnnxRunner
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.flatbuffer import read_model
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.step import FLOAT_FILE, MODEL_FILE, OnnxToTFLite

# Float sums and functions in between may differ in their last bit, and round to another step then.
_IN_FLOATS = {
    *("attention", "exponential", "instance_norm", "logarithm", "root", "scaled", "sum"),
}
_A_STEP = 1.001
_ALIKE = 0.99


def network(name):
    torch.manual_seed(0)
    return (NETWORKS[name]() if name in NETWORKS else After(FUNCTIONS[name])).eval()


@pytest.fixture(scope="module", params=[*FUNCTIONS, *NETWORKS])
def written(request, litert, tmp_path_factory):
    """The ONNX artefact of a network and the TFLite one that was made of it."""
    folder, model = tmp_path_factory.mktemp(request.param), network(request.param)
    inputs = torch.randn(16, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    prepared = calibrate(prepare_qat(model, TFLITE, (inputs[:1],)), inputs.split(4), minmax)
    source = CompressedModel(
        module=prepared, example_inputs=(inputs[:1],), samples=(inputs,), scheme=TFLITE
    ).save(folder / "torch")
    for name in ("onnx", "tflite"):
        (folder / name).mkdir()
    onnx = TorchToOnnx().export(source, folder / "onnx")
    return onnx, OnnxToTFLite().export(onnx, folder / "tflite")


def test_litert_equals_the_reference_and_is_within_a_step_of_it_behind_float_sums(written):
    _, tflite = written
    samples = load_samples(tflite.file(SAMPLES_FILE))
    expected = Samples(inputs=samples.expected, expected=()).batches(1)
    scales = [output.scale for output in tflite.outputs]
    with TFLiteRunner().open(tflite) as session:
        parity = compare(session, lambda *_: next(expected), samples.batches(1), scales=scales)
    in_floats = tflite.path.parent.name[:-1] in _IN_FLOATS
    most, alike = (_A_STEP, _ALIKE) if in_floats else (0, 1)
    for output in parity.outputs:
        if output.max_lsb is not None:
            assert output.max_lsb <= most
            assert output.identical_share >= alike
        else:
            assert output.relative_to_range <= 1 / 255


def test_the_float_file_answers_like_the_float_graph(written):
    onnx, tflite = written
    inputs = next(load_samples(onnx.file(SAMPLES_FILE)).batches(1))
    with TFLiteRunner().open_float(tflite) as twin, OnnxRunner().open_float(onnx) as graph:
        for found, wanted in zip(twin(*inputs), graph(*inputs), strict=True):
            assert found.shape == wanted.shape
            # Sums of some hundred products in another order.
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_every_tensor_has_a_name_of_its_own(written):
    _, tflite = written
    for file in (MODEL_FILE, FLOAT_FILE):
        names = [tensor.name for tensor in read_model(tflite.file(file)).tensors]
        assert len(set(names)) == len(names)
