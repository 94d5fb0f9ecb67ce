"""What build_engine.py refuses before TensorRT is asked, and what compare makes of results."""

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from torchedge.cli import main
from torchedge.compressed import CompressedModel
from torchedge.errors import ExportError
from torchedge_onnx.step import TorchToOnnx
from torchedge_tensorrt.platforms import PLATFORMS
from torchedge_tensorrt.step import OnnxToTensorRTBundle

ORIN = {"device": "Jetson Orin Nano", "device_model_names": ["Orin Nano"]}


def test_a_bundle_for_another_board_is_refused_unless_asked_for(build_engine: ModuleType) -> None:
    with pytest.raises(build_engine.BuildError, match="for Jetson Orin Nano, and this board says"):
        build_engine.check_board("NVIDIA Jetson AGX Orin", ORIN, False)
    build_engine.check_board("NVIDIA Jetson AGX Orin", ORIN, True)


@pytest.mark.parametrize("version", [(8, 2, 1), (12, 0, 0)])
def test_a_tensorrt_outside_the_range_is_refused(
    build_engine: ModuleType, version: tuple[int, int, int]
) -> None:
    details = {"tensorrt_at_least": "8.4.0", "tensorrt_below": "12.0.0", "opset": 17}
    with pytest.raises(build_engine.BuildError, match=r"opset 17\) are for 8\.4\.0 up to 12\.0\.0"):
        build_engine.check_version(version, details)


def test_a_cache_of_another_model_is_refused(build_engine: ModuleType, copied_bundle: Path) -> None:
    build_engine.check_pair(str(copied_bundle))
    (copied_bundle / "model_fp32.onnx").write_bytes(b"another model")
    with pytest.raises(build_engine.BuildError, match="made for another model"):
        build_engine.check_pair(str(copied_bundle))


def test_too_little_memory_is_refused(build_engine: ModuleType, copied_bundle: Path) -> None:
    options = build_engine.arguments([])
    with pytest.raises(build_engine.BuildError, match="300 MiB of memory are free"):
        build_engine.check_memory(str(copied_bundle), options, (8, 2, 1), available_mib=300)


def test_the_file_that_is_built_is_the_one_that_memory_is_for(
    build_engine: ModuleType, copied_bundle: Path
) -> None:
    options = build_engine.arguments(["--precision", "fp16"])
    (copied_bundle / build_engine.HALF_FILE).write_bytes(bytes(100 << 20))
    free_mib = build_engine.FLOOR_MIB + 399
    build_engine.check_memory(str(copied_bundle), options, (10, 3, 0), available_mib=free_mib)
    with pytest.raises(build_engine.BuildError, match=f"build should have {free_mib + 1}"):
        build_engine.check_memory(str(copied_bundle), options, (11, 0, 0), available_mib=free_mib)


def test_an_open_shape_is_refused_for_the_accelerator(build_engine: ModuleType) -> None:
    with pytest.raises(build_engine.BuildError, match="which the accelerator cannot run"):
        build_engine.check_static({"inputs": [{"name": "x", "shape": ["n", 3]}]})


def test_results_are_set_side_by_side_with_the_first_as_the_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, median in (("a", 2.0), ("b", 0.5)):
        engine = {"precision": "int8", "gpu_compute_time_median_ms": median}
        report = {"environment": {"device": name}, "settings": {}, "engines": [engine]}
        (tmp_path / name).write_text(json.dumps(report))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["device"], row["times_as_fast"]) for row in rows] == [("a", 1), ("b", 4)]
    assert main(["compare", str(tmp_path / "absent")]) == 2


class Determinant(nn.Module):
    """Ends in an operator that no version of TensorRT's parser reads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(x)


def test_an_operator_that_the_boards_parser_does_not_know_ends_the_export_by_name(
    tmp_path: Path,
) -> None:
    matrices = torch.eye(3).repeat(2, 1, 1)
    saved = CompressedModel(
        module=Determinant(), example_inputs=(matrices[:1],), samples=(matrices,)
    ).save(tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "bundle").mkdir()
    exported = TorchToOnnx().export(saved, tmp_path / "onnx")
    step = OnnxToTensorRTBundle(platform=PLATFORMS["jetson-orin-nano"], precision="fp16")
    with pytest.raises(ExportError, match="Det"):
        step.export(exported, tmp_path / "bundle")
