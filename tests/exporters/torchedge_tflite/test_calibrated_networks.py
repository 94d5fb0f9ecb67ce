"""Float networks and foreign ONNX files, calibrated in the export, against their float answers."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import torchedge
from tests.exporters.torchedge_tflite.lowering.networks import FUNCTIONS, NETWORKS, After
from torchedge import exporting
from torchedge.backends import TFLITE
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.quantization import calibrate, prepare_qat
from torchedge.quantization.range_rules import mse
from torchedge_onnx.import_model import import_onnx
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.step import OnnxToTFLite

# Random networks on few samples have ranges that clip, which is told of.
pytestmark = pytest.mark.filterwarnings("ignore:the range clips:UserWarning")

_MARGIN_DB = 1.0  # kernels round ties in another way than PyTorch


def sqnr_db(real, found):
    return 10 * np.log10((real**2).sum() / ((real - found) ** 2).sum())


def answers_of_file(artifact):
    samples = load_samples(artifact.file(SAMPLES_FILE))
    with TFLiteRunner().open(artifact) as session:
        rows = [session(*inputs) for inputs in samples.batches(1)]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("name", [*FUNCTIONS, *NETWORKS])
def test_the_file_of_a_float_network_is_as_near_to_it_as_pytorch_s_own_calibration(
    litert, float_artifact, tmp_path, name
):
    torch.manual_seed(0)
    model = (NETWORKS[name]() if name in NETWORKS else After(FUNCTIONS[name])).eval()
    data = torch.randn(32, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    source = float_artifact(
        name,
        module=model,
        example_inputs=(data[:1],),
        samples=(data[:16],),
        calibration=(data[16:],),
    )
    found = answers_of_file(OnnxToTFLite().export(source, tmp_path))
    prepared = calibrate(prepare_qat(model, TFLITE, (data[:1],)), data[16:].split(1), mse).eval()
    with torch.no_grad():
        real, ours = ([y.numpy() for y in outputs(m, data[:16])] for m in (model, prepared))
    for wanted, quantised, written in zip(real, ours, found, strict=True):
        assert sqnr_db(wanted, written) >= sqnr_db(wanted, quantised) - _MARGIN_DB


def outputs(model, inputs):
    answer = model(inputs)
    return answer if isinstance(answer, tuple) else (answer,)


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def saved(path, nodes, ends, constants, opset=17):
    """A file of an input ``x``, an output ``y`` and constants by their names."""
    initialisers = [numpy_helper.from_array(v, n) for n, v in constants.items()]
    graph = helper.make_graph(
        nodes, "foreign", [value("x", ends[0])], [value("y", ends[1])], initialisers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)


def node(kind, inputs, result, **attributes):
    return helper.make_node(kind, inputs.split(), [result], **attributes)


def product(path):
    nodes = [node("Flatten", "x", "f"), node("MatMul", "f w", "y")]
    saved(path, nodes, ([1, 3, 8, 8], [1, 5]), {"w": numbers(0, 192, 5)})


def product_of_rows(path):
    constants = {"w": numbers(0, 8, 5), "b": numbers(1, 1, 1, 5)}
    nodes = [
        node("Reshape", "x s", "r"),
        node("MatMul", "r w", "m"),
        node("Add", "b m", "n"),
        node("Softmax", "n", "y", axis=-1),
    ]
    shape = {"s": np.array([1, 24, 8], np.int64)}
    saved(path, nodes, ([1, 3, 8, 8], [1, 24, 5]), {**constants, **shape})


def dead_filters(path):
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c g beta m v", "n"),
        node("Relu", "n", "y"),
    ]
    constants = {
        "w": numbers(0, 4, 3, 3, 3) * np.float32(0.1),
        "g": np.array([1e-9, 1, 0.8, 0], np.float32),
        "beta": np.array([2, 0.1, -0.2, 0.3], np.float32),
        "m": np.zeros(4, np.float32),
        "v": np.ones(4, np.float32),
    }
    saved(path, nodes, ([1, 3, 8, 8], [1, 4, 8, 8]), constants)


def dead_rows(path):
    """A linear layer whose whole matrix is nearly zero."""
    constants = {"w": numbers(0, 5, 192) * np.float32(1e-11), "b": numbers(1, 5)}
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "y", transB=1)]
    saved(path, nodes, ([1, 3, 8, 8], [1, 5]), constants)


def bias_of_one_number(path):
    constants = {"w": numbers(0, 192, 5), "b": numbers(1, 1)}
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "y")]
    saved(path, nodes, ([1, 3, 8, 8], [1, 5]), constants)


def shared_weight(path):
    """Two layers read one matrix, and names end like those that a calibrator would make."""
    constants = {"w": numbers(0, 3, 3, 3, 3), "a.scale": numbers(1, 1, 3, 1, 1)}
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("Mul", "a a.scale", "a.real"),
        node("Conv", "a.real w", "a.quantized", pads=[1, 1, 1, 1]),
        node("Add", "a a.quantized", "y"),
    ]
    saved(path, nodes, ([1, 3, 8, 8], [1, 3, 8, 8]), constants)


def transposed_weight(path):
    """A matrix that the file turns before it is used."""
    constants = {"w": numbers(0, 5, 192), "b": numbers(1, 5)}
    nodes = [
        node("Transpose", "w", "t", perm=[1, 0]),
        node("Flatten", "x", "f"),
        node("MatMul", "f t", "m"),
        node("Add", "m b", "y"),
    ]
    saved(path, nodes, ([1, 3, 8, 8], [1, 5]), constants)


def old_norm(path):
    """A layer norm as files had it before there was an operator, between two layers."""
    constants = {
        "w": numbers(0, 8, 8),
        "two": np.float32([2.0]),
        "eps": np.float32([1e-5]),
        "g": numbers(1, 8) + 1,
        "b": numbers(2, 8),
        "s": np.array([1, 24, 8], np.int64),
    }
    nodes = [
        node("Reshape", "x s", "r"),
        node("MatMul", "r w", "h"),
        node("ReduceMean", "h", "mean", axes=[-1]),
        node("Sub", "h mean", "d"),
        node("Pow", "d two", "q"),
        node("ReduceMean", "q", "var", axes=[-1]),
        node("Add", "var eps", "e"),
        node("Sqrt", "e", "dev"),
        node("Div", "d dev", "u"),
        node("Mul", "u g", "k"),
        node("Add", "k b", "n"),
        node("MatMul", "n w", "y"),
    ]
    saved(path, nodes, ([1, 3, 8, 8], [1, 24, 8]), constants)


def old_gelu(path):
    """A GELU of an error function."""
    constants = {
        "w": numbers(0, 4, 3, 1, 1),
        "root": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    nodes = [
        node("Conv", "x w", "c"),
        node("Div", "c root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "a"),
        node("Mul", "c a", "p"),
        node("Mul", "p half", "y"),
    ]
    saved(path, nodes, ([1, 3, 8, 8], [1, 4, 8, 8]), constants)


def groups_turned_round(path):
    constants = {"w": numbers(0, 4, 3, 2, 2), "v": numbers(1, 4, 3, 1, 1), "b": numbers(2, 6)}
    nodes = [
        node("Conv", "x v", "c"),
        node("ConvTranspose", "c w b", "y", strides=[2, 2], group=2),
    ]
    saved(path, nodes, ([1, 3, 8, 8], [1, 6, 16, 16]), constants)


def normalised_inside(path):
    """Pixels are normalised by the file itself, whose mean and deviation differ by channel."""
    constants = {
        "mean": np.float32([0.4, -0.5, 0.6]).reshape(1, 3, 1, 1),
        "std": np.float32([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1),
        "w": numbers(0, 4, 3, 3, 3),
    }
    nodes = [
        node("Sub", "x mean", "s"),
        node("Div", "s std", "d"),
        node("Conv", "d w", "c"),
        node("Clip", "c low high", "y"),
    ]
    limits = {"low": np.float32(0), "high": np.float32(6)}
    saved(path, nodes, ([1, 3, 8, 8], [1, 4, 6, 6]), {**constants, **limits})


def boxes_and_scores(path):
    constants = {
        "w": numbers(0, 4, 3, 1, 1),
        "eight": np.float32(8),
        "size": np.array([2, 2], np.int64),
    }
    nodes = [
        node("Conv", "x w", "c"),
        helper.make_node("Split", ["c", "size"], ["box", "score"], axis=1),
        node("Mul", "box eight", "wide"),
        node("Sigmoid", "score", "sure"),
        node("Concat", "wide sure", "y", axis=1),
    ]
    saved(path, nodes, ([1, 3, 8, 8], [1, 4, 8, 8]), constants)


FILES = (
    product,
    product_of_rows,
    dead_filters,
    dead_rows,
    bias_of_one_number,
    shared_weight,
    transposed_weight,
    old_norm,
    old_gelu,
    groups_turned_round,
    normalised_inside,
    boxes_and_scores,
)
# Eight bits of a uniform grid hold a Gaussian to some 40 dB; two roundings in a row cost a few.
_FEW_BITS_DB = 25.0


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_a_foreign_file_answers_on_integers_almost_as_it_does_in_float(litert, tmp_path, write):
    write(tmp_path / "foreign.onnx")
    inputs = np.random.default_rng(7).standard_normal((8, 3, 8, 8)).astype(np.float32)
    # Every fourth is kept for checks: with each four times, calibration has seen them all.
    batches = [(one[None],) for one in inputs.repeat(4, axis=0)]
    artifact = import_onnx(tmp_path / "foreign.onnx", batches, tmp_path / "imported")
    made = torchedge.export(artifact, exporting.target("android"), tmp_path / "out").artifact
    seen = load_samples(made.file(SAMPLES_FILE))
    session = onnxruntime.InferenceSession(tmp_path / "foreign.onnx")
    real = np.concatenate([session.run(None, {"x": x})[0] for (x,) in seen.batches(1)])
    assert sqnr_db(real, answers_of_file(made)[0]) > _FEW_BITS_DB
