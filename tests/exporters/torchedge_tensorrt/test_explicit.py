"""Q/DQ put into float ONNX files that this package did not write."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.exporters.torchedge_tensorrt.graphs import Chain, save, with_constant_nodes
from torchedge.cli import main
from torchedge.errors import ArtifactError, ExportError
from torchedge_onnx.graph import constants, producers
from torchedge_onnx.session import open_model
from torchedge_tensorrt.calibration_cache import parse_cache
from torchedge_tensorrt.explicit import ExplicitModel, explicit_model
from torchedge_tensorrt.host_calibration import calibrate_onnx
from torchedge_tensorrt.rules import broken_rules
from torchedge_tensorrt.scales import trained_scales

SHAPE = (1, 4, 8, 8)
TENSORRT = (8, 2, 1)


class Network(Chain):
    """A chain whose convolutions get random weights; 3 by 3, padded, unless said otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(0)

    def conv(self, source: str, result: str, shape: Sequence[int] = (4, 4, 3, 3)) -> str:
        self.constants[f"{result}_w"] = self.random.standard_normal(shape).astype(np.float32)
        self.constants[f"{result}_b"] = np.full(shape[0], 0.1, np.float32)
        pads = [shape[2] // 2] * 4
        return self.node("Conv", [source, f"{result}_w", f"{result}_b"], result, pads=pads)


def everything(path: Path) -> Path:
    """An identity and a projection residual, batch norm, concat behind a pool, Gemm: all places."""
    net = Network()
    statistics = {"s": 2, "b": 1, "m": 0, "v": 1}
    net.constants |= {f"bn_{n}": np.full(4, v, np.float32) for n, v in statistics.items()}
    net.constants["shape"] = np.array([1, 8], np.int64)
    net.conv("x", "stem")
    net.node("BatchNormalization", ["stem", *(f"bn_{n}" for n in statistics)], "normed")
    net.node("Relu", ["normed"], "trunk")
    net.conv("trunk", "branch")
    net.node("Add", ["branch", "trunk"], "sum")
    net.node("Relu", ["sum"], "block")
    net.conv("block", "down", (4, 4, 1, 1))
    net.conv("block", "inner")
    net.node("Relu", ["inner"], "active")
    net.conv("active", "long")
    net.node("Add", ["long", "down"], "second")
    net.node("Relu", ["second"], "wide")
    net.node("Sigmoid", ["wide"], "narrow")
    net.node("Concat", ["wide", "narrow"], "both", axis=1)
    net.node("MaxPool", ["both"], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("pooled", "last", (8, 8, 1, 1))
    net.node("GlobalAveragePool", ["last"], "mean")
    net.node("Reshape", ["mean", "shape"], "flat")
    net.constants["head"] = net.random.standard_normal((8, 3)).astype(np.float32)
    net.node("MatMul", ["flat", "head"], "y")
    shapes = {"x": SHAPE, "y": (1, 3)}
    return save(path, net.nodes, net.constants, shapes, outputs=["y"])


def batches(count: int = 4) -> list[tuple[np.ndarray, ...]]:
    random = np.random.default_rng(1)
    return [(random.standard_normal(SHAPE).astype(np.float32),) for _ in range(count)]


def explicit(path: Path) -> tuple[ExplicitModel, dict[str, float]]:
    scales = calibrate_onnx(path, batches()).scales
    return explicit_model(path, scales, TENSORRT), scales


def from_grid(model: onnx.ModelProto) -> dict[str, list[str]]:
    """For each node that reads activations from a grid, the tensors before their pairs."""
    made, values = producers(model), constants(model)
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            maker = made.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear":
                source = made[maker.input[0]].input[0]
                found.setdefault(node.name, []).append(source)
    return {n: [s for s in names if s not in values] for n, names in found.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything(tmp_path_factory.mktemp("explicit") / "plain.onnx")


@pytest.fixture(scope="module")
def made(plain: Path) -> tuple[ExplicitModel, dict[str, float]]:
    return explicit(plain)


def test_every_layer_reads_from_the_grid_and_of_an_addition_the_skip_alone(
    made: tuple[ExplicitModel, dict[str, float]],
) -> None:
    assert from_grid(made[0].model) == {
        "stem": ["x"],
        "branch": ["trunk"],
        "sum": ["trunk"],
        "down": ["block"],
        "inner": ["block"],
        "long": ["active"],
        "second": ["down"],
        "both": ["wide", "narrow"],
        "last": ["pooled"],
        "mean": ["last"],
        "y": ["flat"],
    }
    assert (made[0].layers, made[0].float_layers) == (7, {})


def test_the_result_breaks_no_rule_of_any_version(
    made: tuple[ExplicitModel, dict[str, float]],
) -> None:
    for tensorrt in ((8, 2, 1), (8, 5, 2), (10, 3, 0)):
        assert broken_rules(made[0].model, tensorrt) == ()


def test_scales_are_the_calibrations_and_what_a_concatenation_joins_shares_the_largest(
    made: tuple[ExplicitModel, dict[str, float]],
) -> None:
    result, found = made
    same = ("wide", "narrow", "both", "pooled")
    expected = found | dict.fromkeys(same, max(found[name] for name in same))
    assert result.scales == expected
    assert found["narrow"] != found["wide"]
    in_file = trained_scales(result.model)
    assert in_file == {name: expected[name] for name in in_file}
    assert {"x", "trunk", "wide", "narrow", "pooled", "flat"} <= in_file.keys()


def test_weights_are_on_their_grid_channel_by_channel_and_biases_in_float(
    plain: Path, made: tuple[ExplicitModel, dict[str, float]]
) -> None:
    values = constants(made[0].model)
    for name, axis in (("stem_w", 0), ("last_w", 0), ("head", 1)):
        weight = values[name]
        others = tuple(a for a in range(weight.ndim) if a != axis)
        expected = np.abs(weight).max(axis=others) / np.float32(127)
        np.testing.assert_array_equal(values[f"{name}.grid.scale"], expected)
    (stem,) = (node for node in made[0].model.graph.node if node.name == "stem")
    assert stem.input[2] == "stem_b"


def test_onnx_runtime_runs_it_and_answers_what_integers_give(
    made: tuple[ExplicitModel, dict[str, float]], plain: Path, tmp_path: Path
) -> None:
    path = tmp_path / "qdq.onnx"
    path.write_bytes(made[0].model.SerializeToString())
    given = batches()[0]
    (found,), (real,) = open_model(path)(*given), open_model(plain)(*given)
    assert 0 < np.abs(found - real).max() < 0.1 * np.abs(real).max()  # far from broken, not float


def test_a_layers_answer_is_that_of_integer_arithmetic_by_hand(tmp_path: Path) -> None:
    net = Chain()
    net.constants["w"] = np.array([[1.27, 0.3], [-0.4, 2.54]], np.float32)
    net.node("MatMul", ["x", "w"], "y")
    shapes = {"x": (1, 2), "y": (1, 2)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    result = explicit_model(path, {"x": 0.5, "y": 1.0}, TENSORRT)
    path.write_bytes(result.model.SerializeToString())
    (found,) = open_model(path)(np.array([[3.1, 100.0]], np.float32))
    x, w = np.array([6, 127]) * 0.5, np.array([[127, 15], [-40, 127]]) * [0.01, 0.02]
    np.testing.assert_allclose(found, [x @ w], rtol=1e-6)


def test_layers_that_cannot_be_quantised_stay_in_float_whole_and_are_named(tmp_path: Path) -> None:
    net = Network()
    net.constants |= {"pads": np.array([0, 0, 1, 1] * 2, np.int64), "one": np.float32(1)}
    net.constants["seed"] = np.ones((4, 4, 1, 1), np.float32)
    net.node("Pad", ["x", "pads", "one"], "padded")  # not with zeros, so it cannot be folded
    net.conv("padded", "first", (4, 4, 1, 1))
    net.node("Neg", ["seed"], "computed")
    net.node("Conv", ["first", "computed"], "second")
    net.conv("second", "y")
    shapes = {"x": SHAPE, "y": (1, 4, 10, 10)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    result, _ = explicit(path)
    assert result.float_layers == {
        "first": "a pad that cannot be folded comes before it",
        "second": "its weight is computed",
    }
    assert from_grid(result.model) == {"y": ["second"]}


def test_a_zero_pad_is_folded_and_a_zero_channel_has_a_scale(tmp_path: Path) -> None:
    net = Network()
    net.constants |= {"pads": np.array([0, 0, 1, 1] * 2, np.int64), "zero": np.float32(0)}
    net.node("Pad", ["x", "pads", "zero"], "padded")
    net.conv("padded", "y", (4, 4, 1, 1))
    net.constants["y_w"][2] = 0
    shapes = {"x": SHAPE, "y": (1, 4, 10, 10)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    result, _ = explicit(path)
    assert "Pad" not in {node.op_type for node in result.model.graph.node}
    assert constants(result.model)["y_w.grid.scale"][2] > 0
    assert broken_rules(result.model, TENSORRT) == ()


def test_constants_in_nodes_are_weights_pads_and_axes_like_any_other(tmp_path: Path) -> None:
    net = Network()
    net.constants |= {"pads": np.array([0, 0, 1, 1] * 2, np.int64), "zero": np.float32(0)}
    net.node("Pad", ["x", "pads", "zero"], "padded")
    net.conv("padded", "conv", (4, 4, 1, 1))
    net.node("ReduceMean", ["conv"], "y", axes=[2, 3])
    shapes = {"x": SHAPE, "y": (1, 4, 1, 1)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    expected, _ = explicit(path)
    path.write_bytes(with_constant_nodes(onnx.load(path)).SerializeToString())
    result, _ = explicit(path)
    assert (result.layers, result.float_layers) == (1, {})
    kinds = [n.op_type for n in result.model.graph.node if n.op_type != "Constant"]
    assert sorted(kinds) == sorted(node.op_type for node in expected.model.graph.node)
    answers = []
    for model in (expected.model, result.model):
        path.write_bytes(model.SerializeToString())
        answers.append(open_model(path)(*batches()[0])[0])
    np.testing.assert_array_equal(*answers)


def test_everything_that_moves_the_values_of_a_concatenation_has_its_scale(tmp_path: Path) -> None:
    net = Network()
    net.conv("x", "a")
    net.node("Sigmoid", ["a"], "b")
    net.node("Concat", ["a", "b"], "both", axis=1)
    net.node("Identity", ["both"], "same")
    net.node("MaxPool", ["same"], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("pooled", "y", (4, 8, 1, 1))
    shapes = {"x": SHAPE, "y": (1, 4, 4, 4)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    result, found = explicit(path)
    joined = ("a", "b", "both", "same", "pooled")
    assert len({found[name] for name in joined}) > 1
    assert {result.scales[name] for name in joined} == {max(found[name] for name in joined)}


def test_an_open_batch_is_no_hindrance_to_pads_and_means(tmp_path: Path) -> None:
    net = Network()
    net.constants |= {"pads": np.array([0, 0, 1, 1] * 2, np.int64), "zero": np.float32(0)}
    net.node("Pad", ["x", "pads", "zero"], "padded")
    net.conv("padded", "conv", (4, 4, 1, 1))
    net.node("ReduceMean", ["conv"], "y", axes=[2, 3], keepdims=0)
    shapes = {"x": SHAPE, "y": (1, 4)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    path.write_bytes(model.SerializeToString())
    result, _ = explicit(path)
    assert from_grid(result.model) == {"conv": ["x"], "y": ["conv"]}
    path.write_bytes(result.model.SerializeToString())
    (answer,) = open_model(path)(np.concatenate([x for (x,) in batches()]))
    assert answer.shape == (4, 4)


def test_a_pad_before_a_convolution_that_pads_by_the_size_of_its_input_is_not_folded(
    tmp_path: Path,
) -> None:
    net = Network()
    net.constants |= {"pads": np.array([0, 0, 1, 1] * 2, np.int64), "zero": np.float32(0)}
    net.constants["w"] = np.ones((4, 4, 3, 3), np.float32)
    net.node("Pad", ["x", "pads", "zero"], "padded")
    net.node("Conv", ["padded", "w"], "m", auto_pad="SAME_UPPER", strides=[2, 2])
    net.conv("m", "y")
    shapes = {"x": SHAPE, "y": (1, 4, 5, 5)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    result, _ = explicit(path)
    assert result.float_layers == {"m": "a pad that cannot be folded comes before it"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nan", "weight 'w' holds NaN or infinity"),
        ("none", "has no convolution, Gemm or MatMul to quantise"),
        ("scale", "no layer that can be quantised; of 'm', its input has no scale"),
        ("operator", r"Q12 'y': Det is not in the table of TensorRT 8\.2\.1's parser"),
    ],
)
def test_a_file_that_cannot_become_explicit_is_refused(
    tmp_path: Path, change: str, message: str
) -> None:
    net = Chain()
    net.constants["w"] = np.full((3, 3), np.nan if change == "nan" else 1, np.float32)
    operation = "Add" if change == "none" else "MatMul"
    inner = net.node(operation, ["x", "w"], "m")
    net.node("Det" if change == "operator" else "Relu", [inner], "y")
    shapes = {"x": (3, 3), "y": () if change == "operator" else (3, 3)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    scales = {"x": 1.0, "m": 1.0, "y": 1.0}
    if change == "scale":
        del scales["x"]
    with pytest.raises(ExportError, match=message):
        explicit_model(path, scales, TENSORRT)


def test_a_file_with_quantisers_is_refused(
    tmp_path: Path, made: tuple[ExplicitModel, dict[str, float]]
) -> None:
    path = tmp_path / "qdq.onnx"
    path.write_bytes(made[0].model.SerializeToString())
    with pytest.raises(ArtifactError, match="Give the float network"):
        explicit_model(path, made[1], TENSORRT)


def test_a_residual_stream_that_is_normalised_stays_in_float(tmp_path: Path) -> None:
    net = Chain()
    net.constants["w"] = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    net.constants |= {"g": np.ones(8, np.float32), "b": np.zeros(8, np.float32)}
    net.node("MatMul", ["x", "w"], "branch")
    net.node("Add", ["branch", "x"], "sum")
    net.node("InstanceNormalization", ["sum", "g", "b"], "y")
    shapes = {"x": (1, 8, 8), "y": (1, 8, 8)}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    result = explicit_model(path, {"x": 0.1, "branch": 0.1, "sum": 0.1, "y": 0.1}, TENSORRT)
    assert from_grid(result.model) == {"branch": ["x"]}


def test_the_command_writes_a_clean_file_with_the_caches_scales(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "arrays", tmp_path / "out"
    data.mkdir()
    for n, (batch,) in enumerate(batches()):
        np.save(data / f"{n}.npy", batch[0])
    words = [str(plain), str(data), str(out), "--jetpack", "5.1", "--qdq"]
    assert main(["calibration", "create", *words]) == 0
    assert "7 of 7 layers quantised, all rules hold" in capsys.readouterr().out
    written = out / "model_qdq.onnx"
    assert main(["check-tensorrt", str(written), "--jetpack", "5.1"]) == 0
    _, cache = parse_cache((out / "calibration.cache").read_text())
    scales = trained_scales(onnx.load(written))
    assert scales
    assert scales == {name: cache[name] for name in scales}
    assert json.loads((out / "calibration.json").read_text())["tensors"] == len(cache)


def test_the_command_refuses_a_file_that_cannot_become_explicit_before_it_calibrates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated: list[Path] = []
    monkeypatch.setattr(
        "torchedge_tensorrt.host_calibration.calibrate_onnx",
        lambda path, *_, **__: calibrated.append(path),
    )
    net = Chain()
    net.constants["one"] = np.float32(1)
    net.node("Add", ["x", "one"], "y")
    shapes = {"x": SHAPE, "y": SHAPE}
    path = save(tmp_path / "m.onnx", net.nodes, net.constants, shapes, outputs=["y"])
    data = tmp_path / "arrays"
    data.mkdir()
    np.save(data / "a.npy", batches()[0][0][0])
    words = [str(path), str(data), str(tmp_path / "out"), "--qdq"]
    assert main(["calibration", "create", *words]) == 1
    assert "has no convolution, Gemm or MatMul to quantise" in capsys.readouterr().err
    assert not calibrated
    assert sorted(p.name for p in tmp_path.iterdir()) == ["arrays", "m.onnx"]
