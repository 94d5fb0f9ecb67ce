"""Calibration of a float ONNX graph against calibration of the PyTorch network: one calibrator."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.exporters.torchedge_tflite.networks import INPUT_SHAPES
from torchedge.backends import TFLITE
from torchedge.compressed import CompressedModel
from torchedge.errors import CalibrationError, ExportError
from torchedge.exporting.samples import SAMPLES_FILE, batches, load_samples
from torchedge.quantization import calibrate, prepare_qat
from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.range_rules import mse
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.calibrated import calibrated
from torchedge_tflite.qdq_reader import Grid, read_trained
from torchedge_tflite.reference_outputs import with_answers_of
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.step import OnnxToTFLite

NETWORKS = [kind.__name__ for kind in INPUT_SHAPES]

# Random networks on few samples have ranges that clip, which is told of.
pytestmark = pytest.mark.filterwarnings("ignore:the range clips:UserWarning")


def float_graph(artifact):
    samples = load_samples(artifact.file(SAMPLES_FILE))
    return onnx.load(artifact.file(ONNX_FILE)), samples


def network(name):
    torch.manual_seed(0)
    return next(kind for kind in INPUT_SHAPES if kind.__name__ == name)().eval()


# Without those that average: PyTorch's mean has a scale of its own, a pool in ONNX its operand's.
@pytest.mark.parametrize("name", ["Padded", "Dense", "SmallUNet", "TwoSums", "Wide"])
def test_the_scales_are_those_that_pytorch_would_have_chosen(float_artifact, name):
    graph, samples = float_graph(float_artifact(name))
    data = torch.from_numpy(samples.calibration[0])
    prepared = calibrate(prepare_qat(network(name), TFLITE, (data[:1],)), data.split(1), mse)
    wanted = {
        (float(q.scale), int(q.zero_point))
        for q in prepared.modules()
        if isinstance(q, FakeQuantize) and q.scale.ndim == 0 and not q.spec.symmetric
    }
    trained = read_trained(calibrated(graph, batches(samples.calibration, 1), TFLITE))
    found = {(grid.scale, grid.zero_point) for grid in trained.activations.values()}
    assert_equal_grids(found, wanted)


def assert_equal_grids(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(sorted(found), sorted(wanted), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_rounded_as_by_hand(float_artifact, name):
    graph, samples = float_graph(float_artifact(name))
    floats = {i.name: onnx.numpy_helper.to_array(i) for i in graph.graph.initializer}
    weighted = [n for n in graph.graph.node if n.op_type in {"Conv", "Gemm"}]
    layers = read_trained(calibrated(graph, batches(samples.calibration, 1), TFLITE)).layers
    assert len(layers) == len(weighted)
    for node, layer in zip(weighted, layers, strict=True):
        weight = floats[node.input[1]].astype(np.float64)
        rows = np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
        axis = 1 if node.op_type == "Conv" else None
        scale = np.abs(rows).max(axis, keepdims=True) / 127
        np.testing.assert_allclose(layer.scales, scale.ravel(), rtol=1e-6)
        assert np.abs(layer.weight - rows / scale).max() <= 0.5001


def test_the_integer_graph_answers_almost_like_the_float_one(float_artifact):
    graph, samples = float_graph(float_artifact("Dense"))
    answered = with_answers_of(
        calibrated(graph, batches(samples.calibration, 1), TFLITE), samples, 1
    )
    error = answered.expected[0] - samples.expected[0]
    assert 0 < np.abs(error).max() < 0.05 * np.ptp(samples.expected[0])


def test_an_operation_that_tflite_lacks_is_named(litert, float_artifact, tmp_path):
    torch.manual_seed(0)
    source = moved(float_artifact, nn.Sequential(nn.Conv2d(1, 4, 1), Sine()))
    with pytest.raises(ExportError, match=r"is a Sin, for which no TFLite operator is written"):
        OnnxToTFLite().export(source, tmp_path)


class Sine(nn.Module):
    """What TFLite has no operator for here."""

    def forward(self, x):
        return torch.sin(x)


class Joined(nn.Module):
    """A detection head in miniature: boxes and scores in one tensor."""

    def __init__(self, *, boxes):
        super().__init__()
        self.boxes, self.scores = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.sigmoid = not boxes

    def forward(self, x):
        boxes = self.boxes(x)
        boxes = torch.sigmoid(boxes) if self.sigmoid else boxes
        return nn.functional.avg_pool2d(torch.cat([boxes, torch.sigmoid(self.scores(x))], 1), 2)


def joined_graph(tmp_path, **options):
    inputs = torch.rand(4, 1, 8, 8)
    saved = CompressedModel(
        module=Joined(**options).eval(), example_inputs=(inputs[:1],), samples=(inputs,)
    ).save(tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    artifact = TorchToOnnx().export(saved, tmp_path / "onnx")
    return onnx.load(artifact.file(ONNX_FILE)), inputs.numpy()


def test_boxes_and_sigmoids_are_joined_in_floats_each_on_its_own_scale(tmp_path):
    graph, inputs = joined_graph(tmp_path, boxes=True)
    made = calibrated(graph, batches((inputs,), 1), TFLITE)
    join = next(node for node in made.graph.node if node.op_type == "Concat")
    readers = {node.op_type for node in made.graph.node if join.output[0] in node.input}
    assert readers == {"AveragePool"}
    grids = read_trained(made).activations
    made_by = {name: node for node in made.graph.node for name in node.output}
    own = [grids[made_by[name].input[0]] for name in join.input]
    assert own[0] != own[1] == Grid(scale=1 / 256, zero_point=-128)


def test_sigmoids_joined_and_averaged_keep_their_fixed_scale(tmp_path):
    graph, inputs = joined_graph(tmp_path, boxes=False)
    grids = read_trained(calibrated(graph, batches((inputs,), 1), TFLITE)).activations.values()
    assert sum((grid.scale, grid.zero_point) == (1 / 256, -128) for grid in grids) == 4


def test_an_empty_calibration_set_is_refused(float_artifact):
    graph, _ = float_graph(float_artifact("TwoSums"))
    with pytest.raises(CalibrationError, match="calibration set is empty"):
        calibrated(graph, (), TFLITE)


def test_calibration_data_with_nan_is_refused(float_artifact):
    graph, samples = float_graph(float_artifact("TwoSums"))
    broken = samples.calibration[0].copy()
    broken[3] = np.nan
    with pytest.raises(CalibrationError, match="NaN"):
        calibrated(graph, batches((broken,), 1), TFLITE)


class JoinedThenClipped(nn.Module):
    """A join with a ReLU behind it that TFLite computes on its own, or a pool that does both."""

    def __init__(self, *, pool):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.end = nn.Conv2d(4, 2, 1)
        self.pool = pool

    def forward(self, x):
        joined = torch.cat([self.left(x), torch.relu(self.right(x))], 1)
        joined = nn.functional.avg_pool2d(joined, 2) if self.pool else joined
        return self.end(torch.relu(joined))


@pytest.mark.parametrize("pool", [False, True])
def test_a_join_whatever_follows_has_a_grid_that_its_operands_share(float_artifact, pool):
    torch.manual_seed(0)
    graph, samples = float_graph(moved(float_artifact, JoinedThenClipped(pool=pool)))
    made = calibrated(graph, batches(samples.calibration, 1), TFLITE)
    grids = read_trained(made).activations
    made_by = {name: node for node in made.graph.node for name in node.output}
    join = next(node for node in made.graph.node if node.op_type == "Concat")
    shared = {grids[made_by[name].input[0]] for name in join.input}
    result = next(n for n in made.graph.node if join.output[0] in n.input)
    assert result.op_type == "QuantizeLinear"
    assert shared == {grids[result.output[0]]}


@pytest.mark.parametrize("pool", [False, True])
def test_a_join_or_a_pool_before_a_relu_becomes_a_file(litert, float_artifact, tmp_path, pool):
    torch.manual_seed(0)
    source = moved(float_artifact, JoinedThenClipped(pool=pool))
    # A mean of four integers often ends in a half, which ONNX Runtime rounds to even and XNNPACK
    # away from zero; the layer behind it adds two of those.
    most = 2.01 if pool else 1.01
    assert steps_from_reference(OnnxToTFLite().export(source, tmp_path)) <= most


@pytest.mark.parametrize("end", [nn.Flatten(), nn.Identity()])
def test_an_output_that_was_only_moved_has_the_grid_of_what_was(
    litert, float_artifact, tmp_path, end
):
    torch.manual_seed(0)
    source = moved(float_artifact, nn.Sequential(nn.Conv2d(1, 4, 1), nn.MaxPool2d(2), end))
    artifact = OnnxToTFLite().export(source, tmp_path)
    assert artifact.outputs[0].scale > 0
    assert steps_from_reference(artifact) <= 1.01


def moved(float_artifact, module):
    data = torch.rand(32, 1, 4, 4) - 0.5
    return float_artifact(
        "moved",
        module=module.eval(),
        example_inputs=(data[:1],),
        samples=(data[16:],),
        calibration=(data[:16],),
    )


def steps_from_reference(artifact):
    """The largest distance of LiteRT from the calibrated network, in steps of the output."""
    samples = load_samples(artifact.file(SAMPLES_FILE))
    with TFLiteRunner().open(artifact) as session:
        found = np.concatenate([session(*inputs)[0] for inputs in samples.batches(1)])
    return np.abs(found - samples.expected[0]).max() / artifact.outputs[0].scale
