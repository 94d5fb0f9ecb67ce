from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from tests.exporters.torchedge_tensorrt.entropy_by_hand import (
    counted,
    divergence,
    entropy_scale,
    guarded_scale,
    is_right,
    kept_bins,
)
from tests.exporters.torchedge_tensorrt.graphs import Chain, per_tensor, save
from torchedge.errors import CalibrationError
from torchedge_tensorrt.scales import float_tensors, tensor_scales, trained_scales

SHAPE = (1, 1, 64, 64)
RESHAPED = (1, 1, 32, 128)
TRAINED = np.float32(0.05)
NAMES = ("x", "half", "positive", "moved", "pooled", "shifted", "fork", "clipped", "sum", "dead")

Batches = list[tuple[npt.NDArray[np.float32], ...]]


def network(path: Path, *, quantized: bool) -> Path:
    """Tensors of every kind, computed exactly in float32: ``moved`` and ``clipped`` are trained."""
    chain = Chain()
    scalars = {"a_half": 0.5, "one": 1.0, "two": 2.0, "zero": 0.0, "six": 6.0}
    chain.constants |= {name: np.float32(value) for name, value in scalars.items()}
    chain.constants["shape"] = np.array(RESHAPED, np.int64)
    chain.node("Mul", ["x", "a_half"], "half")
    chain.node("Relu", ["half"], "positive")
    chain.node("Reshape", ["positive", "shape"], "moved")
    chain.node("MaxPool", ["moved"], "pooled", kernel_shape=[1, 2])
    chain.node("Add", ["moved", "one"], "shifted")
    chain.node("Mul", ["x", "two"], "fork")
    chain.node("Clip", ["fork", "zero", "six"], "clipped")
    chain.node("Add", ["fork", "clipped"], "sum")
    chain.node("Mul", ["x", "zero"], "dead")
    outputs = ["pooled", "shifted", "sum", "dead"]
    if quantized:
        quantizer = per_tensor(np.int8(0))
        outputs += [chain.quantized(name, quantizer) for name in ("moved", "clipped", "one")]
    shapes = {"x": SHAPE, "pooled": (1, 1, 32, 127), "shifted": RESHAPED, "sum": SHAPE}
    shapes |= {"dead": SHAPE, "moved_dq": RESHAPED, "clipped_dq": SHAPE, "one_dq": ()}
    kept = {name: shape for name, shape in shapes.items() if name == "x" or name in outputs}
    return save(path, chain.nodes, chain.constants, kept, outputs=outputs)


@pytest.fixture(scope="module")
def data() -> Batches:
    """Two batches, the second with values beyond the first one's range."""
    generator = np.random.default_rng(0)
    narrow, wide = generator.standard_normal((2, *SHAPE)).astype(np.float32)
    wide[0, 0, 0, :40] *= 4
    return [(narrow,), (wide,)]


@pytest.fixture(scope="module")
def scales(tmp_path_factory: pytest.TempPathFactory, data: Batches) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("ranges")
    plain = network(folder / "plain.onnx", quantized=False)
    found, notes = tensor_scales(network(folder / "qdq.onnx", quantized=True), plain, data)
    assert [note.partition(" where")[0] for note in notes] == ["the squared error decides"]
    assert notes[0].rpartition("at ")[2].startswith("'shifted': ")
    return found


def test_every_input_and_every_nodes_output_has_a_scale_in_graph_order(
    scales: dict[str, float],
) -> None:
    assert tuple(scales) == NAMES
    assert all(scale > 0 for scale in scales.values())


def test_constants_are_no_tensors_of_a_calibration_cache(tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "plain.onnx", quantized=False))
    assert float_tensors(model) == NAMES


def test_trained_scales_are_those_of_activations_and_not_of_weights(tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "qdq.onnx", quantized=True))
    assert trained_scales(model) == {"moved": TRAINED, "clipped": TRAINED}


def test_a_trained_tensor_keeps_its_scale(scales: dict[str, float]) -> None:
    assert scales["moved"] == scales["clipped"] == TRAINED


@pytest.mark.parametrize("name", ["half", "positive", "pooled"])
def test_what_only_moves_or_clips_values_shares_its_neighbours_scale(
    scales: dict[str, float], name: str
) -> None:
    assert scales[name] == TRAINED


def test_a_tensor_with_a_second_reader_does_not_take_the_scale_behind_a_clip(
    scales: dict[str, float],
) -> None:
    assert scales["fork"] != TRAINED


def test_the_other_tensors_get_the_scale_of_a_brute_force_entropy_search(
    scales: dict[str, float], data: Batches
) -> None:
    inputs = [batch for (batch,) in data]
    fork = [2 * x for x in inputs]
    expected = {
        "x": entropy_scale(inputs),
        "fork": entropy_scale(fork),
        "sum": entropy_scale([x + np.clip(x, 0, 6) for x in fork]),
    }
    assert {name: scales[name] for name in expected} == expected


def test_far_from_zero_the_squared_error_decides(scales: dict[str, float], data: Batches) -> None:
    """At least 1, half of it exactly 1: the least divergence clips all that differs from 1."""
    shifted = [np.maximum(x / 2, 0) + np.float32(1) for (x,) in data]
    assert guarded_scale(shifted) is None
    assert is_right(scales["shifted"], shifted)
    beyond = np.concatenate(shifted) > 127.5 * scales["shifted"]
    assert beyond.mean() <= 1 / 128


def test_a_spike_at_zero_does_not_count_in_the_entropy_search(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    values = generator.standard_normal(SHAPE).astype(np.float32)
    values[generator.random(SHAPE) < 0.7] = 0
    assert scale_of_input(tmp_path, values) == entropy_scale([values])
    counts, _ = counted([values])
    with_the_spike = min(range(128, 2049), key=lambda kept: divergence(counts, kept))
    assert kept_bins(counts) != with_the_spike


def test_of_equally_good_ranges_the_widest_is_kept(tmp_path: Path) -> None:
    # Two magnitudes lose nothing, whether the larger one is kept or folded onto the smaller.
    values = np.full(SHAPE, 0.1, np.float32)
    values[0, 0, 0, 0] = 1
    assert scale_of_input(tmp_path, values) == np.float32(1) / np.float32(127)


def scale_of_input(folder: Path, values: npt.NDArray[np.float32]) -> float:
    """What the network's untrained input gets when it is calibrated on one batch."""
    plain = network(folder / "plain.onnx", quantized=False)
    quantized = network(folder / "qdq.onnx", quantized=True)
    return tensor_scales(quantized, plain, [(values,)])[0]["x"]


def test_entropy_lets_outliers_saturate_that_a_min_max_range_would_keep(
    scales: dict[str, float], data: Batches
) -> None:
    steps = np.abs(data[1][0]) / scales["x"]
    assert np.count_nonzero(np.rint(steps) > 127) > 0


def test_a_tensor_that_is_always_zero_gets_scale_one(scales: dict[str, float]) -> None:
    assert scales["dead"] == 1.0


def test_without_calibration_data_there_is_no_scale(tmp_path: Path) -> None:
    plain = network(tmp_path / "plain.onnx", quantized=False)
    quantized = network(tmp_path / "qdq.onnx", quantized=True)
    with pytest.raises(CalibrationError, match="the calibration set is empty"):
        tensor_scales(quantized, plain, [])
