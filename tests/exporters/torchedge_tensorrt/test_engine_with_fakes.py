import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.exporters.torchedge_tensorrt.fake_tensorrt import fake_tensorrt
from torchedge.errors import ExportError, MissingDependencyError
from torchedge.exporting import Artifact, load_artifact
from torchedge_tensorrt.engine import OnnxToTensorRT


@pytest.mark.parametrize(
    "version", ["8.2.1.8", "8.5.2.2", "8.6.2.3", "10.3.0.30", "10.16.2.10", "11.4.0.9"]
)
def test_an_engine_of_a_fake_tensorrt_is_named_after_gpu_and_version(
    bundle: Artifact, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(version))
    made = OnnxToTensorRT(gpu="8.9").export(bundle, tmp_path)
    numbers = ".".join(version.split(".")[:3])
    assert made.details["deployed_files"] == [f"tiny-int8-sm89-trt{numbers}.engine"]
    assert "Jetson" not in str(made.details)
    assert made.details["int8_layers"] > 0
    assert made.file(made.details["deployed_files"][0]).stat().st_size > 0


def test_what_a_fake_tensorrt_11_cannot_be_asked_for_is_an_error(
    bundle: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("11.4.0.9"))
    with pytest.raises(ExportError, match=r"11\.4\.0 has no calibrators"):
        OnnxToTensorRT(gpu="8.9", calibration="cache").export(bundle, tmp_path)


@pytest.mark.parametrize("module", [None, ModuleType("tensorrt")])
def test_without_even_a_fake_tensorrt_the_package_is_named(
    bundle: Artifact, tmp_path: Path, module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(MissingDependencyError, match="pip install tensorrt"):
        OnnxToTensorRT(gpu="8.9").export(bundle, tmp_path)


def test_a_cache_of_another_model_builds_no_engine_with_a_fake_tensorrt(
    copied_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("8.5.2.2"))
    bundle = load_artifact(copied_bundle)
    step = OnnxToTensorRT(gpu="8.9", calibration="cache")
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    step.export(bundle, first)
    (copied_bundle / "model_fp32.onnx").write_bytes(b"another model")
    with pytest.raises(ExportError, match="made for another model"):
        step.export(bundle, second)
    assert not list(second.iterdir())


@pytest.mark.parametrize("version", ["8.2.1.8", "10.16.2.10", "11.4.0.9"])
def test_a_fake_tensorrt_of_any_version_builds_fp16_from_a_bundle(
    bundle: Artifact, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(version))
    made = OnnxToTensorRT(gpu="8.9", precision="fp16").export(bundle, tmp_path)
    (name,) = made.details["deployed_files"]
    asked = json.loads(made.file(name).read_text())
    assert name.startswith("tiny-fp16-sm89-trt")
    assert asked["half"] is version.startswith("11.")
    assert asked["flags"] == ([] if version.startswith("11.") else ["FP16"])


def test_a_fake_tensorrt_builds_for_an_accelerator_with_the_gpu_as_fall_back(
    bundle: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("8.5.2.2"))
    step = OnnxToTensorRT(gpu="8.7", calibration="cache", dla_core=1)
    made = step.export(bundle, tmp_path)
    asked = json.loads(made.file(made.details["deployed_files"][0]).read_text())
    assert (asked["device"], asked["core"]) == ("DLA", 1)
    assert "GPU_FALLBACK" in asked["flags"]
