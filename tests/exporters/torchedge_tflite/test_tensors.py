"""Each tensor of a file beside the one whose integers it holds; and whether that shows anything."""

from dataclasses import replace

import onnx
import pytest

from benchmarks.integers.files import kept_numbers
from benchmarks.integers.tensors import checked_tensors
from tests.exporters.torchedge_tflite.editing import with_grid
from tests.exporters.torchedge_tflite.networks import INPUT_SHAPES
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_tflite.flatbuffer import parse
from torchedge_tflite.qdq_reader import read_trained
from torchedge_tflite.step import FLOAT_FILE, MODEL_FILE

pytestmark = pytest.mark.slow


def sample_of(artifact):
    return load_samples(artifact.file(SAMPLES_FILE)).inputs[0][:1]


@pytest.mark.parametrize("name", ["Residual", "FourBits", *(k.__name__ for k in INPUT_SHAPES)])
def test_each_tensor_has_the_numbers_of_the_tensor_that_it_came_from(exported, name):
    found = exported(name)
    checks = checked_tensors(found.onnx, found.tflite, sample_of(found.onnx))
    assert [check.tensor for check in checks if not check.equal] == []


def test_two_scales_that_changed_places_are_found(exported, tmp_path):
    """A set of scales is the same before and after."""
    found = exported("TwoSums")
    data = found.tflite.file(MODEL_FILE).read_bytes()
    flat = parse(data)
    one, other = [t for t in flat.tensors if t.values is None and t.scales][1:3]
    assert one.scales != other.scales
    swapped = with_grid(data, one.index, other.scales, other.zero_points)
    swapped = with_grid(swapped, other.index, one.scales, one.zero_points)
    for name in found.tflite.files:
        (tmp_path / name).write_bytes((found.tflite.path / name).read_bytes())
    (tmp_path / MODEL_FILE).write_bytes(swapped)
    artifact = replace(found.tflite, path=tmp_path)
    checks = checked_tensors(found.onnx, artifact, sample_of(found.onnx))
    assert {one.name, other.name} <= {check.tensor for check in checks if not check.equal}


def test_trained_numbers_are_counted_wherever_they_are(exported):
    found = exported("TwoSums")
    trained = read_trained(onnx.load(found.onnx.file(ONNX_FILE)))
    grids = {(grid.scale, grid.zero_point) for grid in trained.activations.values()}
    scales = {float(scale) for layer in trained.layers for scale in layer.scales}
    kept = kept_numbers(found.tflite.file(MODEL_FILE).read_bytes(), trained)
    assert (kept.activations, kept.weights) == (len(grids), len(scales))
    lost = kept_numbers(found.tflite.file(FLOAT_FILE).read_bytes(), trained)
    assert (lost.activations, lost.weights) == (0, 0)
    assert (lost.of_activations, lost.of_weights) == (len(grids), len(scales))
