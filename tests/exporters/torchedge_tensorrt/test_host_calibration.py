import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.exporters.torchedge_tensorrt.entropy_by_hand import entropy_scale
from tests.exporters.torchedge_tensorrt.graphs import Chain, save
from torchedge.cli import main
from torchedge.errors import CalibrationError
from torchedge_onnx.sample_folder import folder_batches
from torchedge_tensorrt.calibration_cache import format_cache, parse_cache
from torchedge_tensorrt.calibration_record import write_calibration
from torchedge_tensorrt.device_scripts.build_engine import BuildError, check_pair
from torchedge_tensorrt.host_calibration import calibrate_onnx


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network whose outputs are its input, tripled, and a tensor that is always zero."""
    chain = Chain()
    chain.constants |= {"three": np.float32(3), "zero": np.float32(0)}
    chain.node("Mul", ["x", "three"], "tripled")
    chain.node("Mul", ["x", "zero"], "nothing")
    shapes = {"x": (1, 3, 4, 4), "tripled": (1, 3, 4, 4), "nothing": (1, 3, 4, 4)}
    outputs = ["tripled", "nothing"]
    return save(tmp_path / "m.onnx", chain.nodes, chain.constants, shapes, outputs=outputs)


def data(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=(1, 3, 4, 4)).astype(np.float32) for _ in range(count)]


def test_scales_are_those_of_a_brute_force_search_and_cover_every_float_tensor(model: Path) -> None:
    batches = data(6)
    found = calibrate_onnx(model, iter([(batch,) for batch in batches]))
    assert found.scales == {
        "x": entropy_scale(batches),
        "tripled": entropy_scale([batch * 3 for batch in batches]),
        "nothing": 1,
    }
    assert found.samples == 6


def test_batches_are_drawn_one_after_the_other_and_not_kept(model: Path) -> None:
    alive: list[int] = []

    class Watched(np.ndarray):
        def __del__(self) -> None:
            alive.remove(id(self))

    def batches():
        for batch in data(20):
            watched = batch.view(Watched)
            alive.append(id(watched))
            assert len(alive) <= 2
            yield (watched,)
            del watched

    calibrate_onnx(model, batches())


def test_a_cache_of_another_model_or_with_changed_scales_is_refused(
    model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "calibration"
    folder.mkdir()
    write_calibration(calibrate_onnx(model, [(data(1)[0],)]), folder, (8, 5, 2))
    copied = folder / "model_fp32.onnx"
    copied.write_bytes(model.read_bytes())
    check_pair(str(folder))
    cache = folder / "calibration.cache"
    text = cache.read_text()
    cache.write_text(text.replace("TRT-8502", "TRT-100300"))
    check_pair(str(folder))  # a board rewrites the first line
    cache.write_text(text.replace("nothing: 3f", "nothing: 40"))
    with pytest.raises(BuildError, match="was changed after the calibration"):
        check_pair(str(folder))
    copied.write_bytes(model.read_bytes() + b"\n")
    with pytest.raises(BuildError, match="was made for another model"):
        check_pair(str(folder))


def test_a_folder_of_pictures_is_scaled_and_normalised(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (9, 7), (255, 0, 51)).save(folder / "a.png")
    ((batch,),) = folder_batches(folder, model, mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 0.1))
    assert batch.shape == (1, 3, 4, 4)
    np.testing.assert_allclose(batch[0, :, 0, 0], [1, 0, 2], rtol=1e-6)


def test_the_command_calibrates_on_a_folder_of_arrays(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    for n, batch in enumerate(data(4)):
        np.save(folder / f"{n}.npy", batch[0])
    words = [str(model), str(folder), str(tmp_path / "out"), "--jetpack", "5.1"]
    assert main(["calibration", "create", *words]) == 0
    header, scales = parse_cache((tmp_path / "out" / "calibration.cache").read_text())
    assert header == "TRT-8502-EntropyCalibration2"
    assert scales["x"] == entropy_scale(data(4))
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["samples"] == 4


def test_an_empty_folder_and_another_shape_are_refused(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    with pytest.raises(CalibrationError, match=r"holds 0 \.npy files"):
        folder_batches(folder, model)
    np.save(folder / "a.npy", np.zeros((3, 5, 4)))
    with pytest.raises(
        CalibrationError, match=r"shape \[3, 5, 4\] for .* network takes \[3, 4, 4\]"
    ):
        list(folder_batches(folder, model))


def test_the_command_shows_compares_and_converts_caches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, out = (tmp_path / name for name in ("one", "other", "out"))
    one.write_text(format_cache({"a": 0.5, "b": 1.0}, (8, 2, 1)))
    other.write_text(format_cache({"a": 0.75, "c": 1.0}, (10, 3, 0)))
    assert main(["calibration", "show", str(one), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scales"] == {"a": 0.5, "b": 1.0}
    assert main(["calibration", "diff", str(one), str(one)]) == 0
    assert main(["calibration", "diff", str(one), str(other)]) == 1
    printed = capsys.readouterr().out
    assert "a: 0.5 → 0.75 (+50.0%)" in printed
    assert "b: only in the first" in printed
    assert main(["calibration", "convert", str(one), str(out), "--tensorrt", "10.3.0"]) == 0
    assert out.read_text() == format_cache({"a": 0.5, "b": 1.0}, (10, 3, 0))
    assert main(["calibration", "convert", str(one), str(out), "--tensorrt", "10.3.0"]) == 2
    assert main(["calibration", "show", str(tmp_path / "absent")]) == 2
