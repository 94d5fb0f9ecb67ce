"""``--method`` of ``torchedge calibration create``, and what is said where entropy was refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.exporters.torchedge_tensorrt.entropy_by_hand import is_right, rounding_error
from tests.exporters.torchedge_tensorrt.graphs import Chain, save
from torchedge.cli import main
from torchedge.errors import UnknownNameError
from torchedge_tensorrt.calibration_cache import parse_cache
from torchedge_tensorrt.host_calibration import calibrate_onnx


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that triples its input."""
    chain = Chain()
    chain.constants |= {"three": np.float32(3)}
    chain.node("Mul", ["x", "three"], "tripled")
    shapes = {"x": (1, 1, 32, 32), "tripled": (1, 1, 32, 32)}
    return save(tmp_path / "m.onnx", chain.nodes, chain.constants, shapes, outputs=["tripled"])


@pytest.fixture
def bright(tmp_path: Path) -> list[np.ndarray]:
    """Far from zero, as arrays in a folder and as batches."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    batches = list(np.random.default_rng(0).normal(10, 1, (4, 1, 1, 32, 32)).astype(np.float32))
    for n, batch in enumerate(batches):
        np.save(folder / f"{n}.npy", batch[0])
    return batches


def test_entropy_gives_way_to_the_squared_error_and_the_command_says_so(
    model: Path, bright: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(model), str(tmp_path / "arrays"), str(tmp_path / "out")]
    assert main(["calibration", "create", *words]) == 0
    assert "warning: the squared error decides" in capsys.readouterr().out
    _, scales = parse_cache((tmp_path / "out" / "calibration.cache").read_text())
    assert is_right(scales["x"], bright)
    assert np.mean(np.concatenate(bright) > 127.5 * scales["x"]) < 1 / 128
    record = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert record["method"] == "entropy"
    assert "'x': 100.0 %" in record["notes"][0]


@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_the_command_takes_another_method(
    model: Path,
    bright: list[np.ndarray],
    tmp_path: Path,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(model), str(tmp_path / "arrays"), str(tmp_path / "out"), "--method", method]
    assert main(["calibration", "create", *words]) == 0
    assert "warning" not in capsys.readouterr().out
    _, scales = parse_cache((tmp_path / "out" / "calibration.cache").read_text())
    values = np.concatenate(bright).astype(np.float64)
    largest = float(values.max()) / 127
    if method == "minmax":
        assert scales["x"] == pytest.approx(largest, rel=1e-6)
    else:
        assert rounding_error(values, scales["x"]) < rounding_error(values, largest)
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["method"] == method


def test_a_method_that_does_not_exist_is_refused_with_those_that_do(
    model: Path, bright: list[np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="'kl'; choose of entropy, mse, minmax"):
        calibrate_onnx(model, [(bright[0],)], method="kl")
    words = [str(model), str(tmp_path / "arrays"), str(tmp_path / "out"), "--method", "kl"]
    assert main(["calibration", "create", *words]) == 2
    assert not (tmp_path / "out").exists()
