import hashlib
import io
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.exporters.torchedge_tensorrt.device_outputs import LAYERS_BEFORE_11, LAYERS_FROM_11
from torchedge_tensorrt.calibration_cache import format_cache, parse_cache

WITHOUT_INT8 = [
    "NVIDIA Jetson Nano Developer Kit",
    "NVIDIA Jetson Nano 2GB Developer Kit",
    "NVIDIA Jetson TX1 Developer Kit",
    "NVIDIA Jetson TX2 Developer Kit",
    "NVIDIA Jetson TX2 NX Developer Kit",
    "quill",
]
WITH_INT8 = [
    "NVIDIA Jetson Xavier NX Developer Kit",
    "NVIDIA Jetson AGX Xavier Developer Kit",
    "Jetson-AGX",
    "NVIDIA Orin Nano Developer Kit",
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "NVIDIA Jetson AGX Orin Developer Kit",
    "NVIDIA Jetson AGX Thor Developer Kit",
]

# trtexec of each release, for a workspace of 512 MiB, by its sampleOptions.cpp.
INT8_FLAGS = {
    (8, 0, 1): "--int8 --fp16 --workspace=512 --buildOnly --timingCacheFile=t.cache",
    (8, 2, 1): "--int8 --fp16 --workspace=512 --buildOnly --timingCacheFile=t.cache "
    "--profilingVerbosity=detailed --exportLayerInfo=layers.json",
    (8, 5, 2): "--int8 --fp16 --memPoolSize=workspace:512 --buildOnly --timingCacheFile=t.cache "
    "--profilingVerbosity=detailed --exportLayerInfo=layers.json",
    (
        8,
        6,
        2,
    ): "--int8 --fp16 --memPoolSize=workspace:512 --skipInference --timingCacheFile=t.cache "
    "--profilingVerbosity=detailed --exportLayerInfo=layers.json",
    (
        10,
        3,
        0,
    ): "--int8 --fp16 --memPoolSize=workspace:512 --skipInference --timingCacheFile=t.cache "
    "--profilingVerbosity=detailed --exportLayerInfo=layers.json",
    (11, 0, 0): "--memPoolSize=workspace:512 --skipInference --timingCacheFile=t.cache "
    "--profilingVerbosity=detailed --exportLayerInfo=layers.json",
}


def test_an_unchanged_bundle_is_accepted(build_engine: ModuleType, copied_bundle: Path) -> None:
    assert build_engine.read_manifest(str(copied_bundle))["name"] == "tiny"


def test_a_file_that_does_not_match_its_hash_is_refused(
    build_engine: ModuleType, copied_bundle: Path
) -> None:
    path = copied_bundle / "calibration.cache"
    path.write_text(path.read_text().replace("3", "4", 1))
    with pytest.raises(build_engine.BuildError, match=r"calibration\.cache does not match its SHA"):
        build_engine.read_manifest(str(copied_bundle))


@pytest.mark.parametrize("name", ["model_qdq.onnx", "manifest.json", "benchmark.py"])
def test_a_missing_file_is_refused(
    build_engine: ModuleType, copied_bundle: Path, name: str
) -> None:
    (copied_bundle / name).unlink()
    with pytest.raises(build_engine.BuildError, match=f"{re.escape(name)} is missing"):
        build_engine.read_manifest(str(copied_bundle))


def test_a_file_larger_than_one_chunk_is_hashed_whole(
    build_engine: ModuleType, tmp_path: Path
) -> None:
    content = bytes(1 << 20) + b"the end"
    path = tmp_path / "large.onnx"
    path.write_bytes(content)
    record = {"sha256": hashlib.sha256(content).hexdigest()}
    build_engine.check_file(str(path), path.name, record)
    path.write_bytes(content[:-1] + b"D")
    with pytest.raises(build_engine.BuildError, match=r"large.onnx does not match"):
        build_engine.check_file(str(path), path.name, record)


@pytest.mark.parametrize("any_device", [False, True])
@pytest.mark.parametrize("model", WITHOUT_INT8)
def test_a_board_without_int8_is_refused_whatever_is_asked(
    build_engine: ModuleType, model: str, any_device: bool
) -> None:
    with pytest.raises(build_engine.BuildError, match=f"{model} has no INT8 arithmetic"):
        build_engine.check_device(model, any_device)


@pytest.mark.parametrize("model", WITH_INT8)
def test_a_board_with_int8_is_accepted(build_engine: ModuleType, model: str) -> None:
    build_engine.check_device(model, False)


@pytest.mark.parametrize("model", ["", "Raspberry Pi 5 Model B"])
def test_an_unknown_device_is_refused_unless_any_device_is_asked_for(
    build_engine: ModuleType, model: str
) -> None:
    with pytest.raises(build_engine.BuildError, match=f"'{model or 'no Jetson'}'.* --any-device"):
        build_engine.check_device(model, False)
    build_engine.check_device(model, True)


def test_the_boards_name_is_read_without_its_closing_null(
    build_engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/proc/device-tree/model": "NVIDIA Jetson Xavier NX\0"}
    monkeypatch.setattr(build_engine, "open", lambda p: io.StringIO(files[p]), raising=False)
    assert build_engine.device_model() == "NVIDIA Jetson Xavier NX"


def test_a_machine_without_a_device_tree_has_no_name(
    build_engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(path: str) -> io.StringIO:
        raise FileNotFoundError(path)

    monkeypatch.setattr(build_engine, "open", absent, raising=False)
    assert build_engine.device_model() == ""


@pytest.mark.parametrize("version", [(8, 0, 1), (8, 5, 2), (10, 3, 0), (10, 16, 2)])
def test_the_cache_on_the_board_is_what_the_exporter_writes_for_that_version(
    build_engine: ModuleType, copied_bundle: Path, version: tuple[int, int, int]
) -> None:
    _, scales = parse_cache((copied_bundle / "calibration.cache").read_text())
    localised = build_engine.localised_cache(str(copied_bundle), version)
    assert localised == format_cache(scales, version)


@pytest.mark.parametrize(
    ("text", "version", "header"),
    [
        ("8.5.2.2", (8, 5, 2), "TRT-8502-EntropyCalibration2"),
        ("10.3.0", (10, 3, 0), "TRT-100300-EntropyCalibration2"),
        ("10.16.2.10", (10, 16, 2), "TRT-101602-EntropyCalibration2"),
    ],
)
def test_a_version_text_gives_the_header_of_its_cache(
    build_engine: ModuleType, text: str, version: tuple[int, int, int], header: str
) -> None:
    assert build_engine.version_numbers(text) == version
    assert build_engine.cache_header(version) == header


@pytest.mark.parametrize("version", INT8_FLAGS)
def test_trtexec_gets_the_flags_that_its_version_knows(
    build_engine: ModuleType, version: tuple[int, int, int]
) -> None:
    options = build_engine.arguments(["--workspace-mib", "512", "--timing-cache", "t.cache"])
    flags = build_engine.trtexec_flags(version, options, "layers.json")
    assert flags == INT8_FLAGS[version].split()


@pytest.mark.parametrize("version", [(8, 2, 1), (8, 6, 2), (10, 3, 0)])
def test_fp16_is_asked_for_without_int8(
    build_engine: ModuleType, version: tuple[int, int, int]
) -> None:
    options = build_engine.arguments(
        ["--precision", "fp16", "--workspace-mib", "512", "--timing-cache", "t.cache"]
    )
    flags = build_engine.trtexec_flags(version, options, "layers.json")
    assert flags == INT8_FLAGS[version].replace("--int8 ", "").split()


def test_each_kind_of_scales_has_its_model(build_engine: ModuleType) -> None:
    def model(*words: str, version: tuple[int, ...] = (8, 2, 1)) -> str:
        return str(build_engine.model_file(build_engine.arguments(list(words)), version))

    assert model() == "model_qdq.onnx"
    assert model("--calibration", "cache") == "model_fp32.onnx"
    assert model("--precision", "fp16") == "model_fp32.onnx"
    assert model("--precision", "fp16", version=(11, 0, 0)) == build_engine.HALF_FILE


@pytest.mark.parametrize(
    "output",
    [
        "[I] Building engine\n&&&& PASSED",
        "[I] [TRT] Starting Calibration.\n&&&& PASSED",
        "[I] [TRT] Reading Calibration Cache for calibrator: X\n[I] [TRT] Starting Calibration.\n",
    ],
)
def test_a_cache_that_was_not_read_is_not_passed_over(
    build_engine: ModuleType, output: str
) -> None:
    options = build_engine.arguments(["--calibration", "cache"])
    with pytest.raises(build_engine.BuildError, match=r"did not read calibration\.cache"):
        build_engine.require_cache_was_read(output, options)
    build_engine.require_cache_was_read(output, build_engine.arguments([]))


def test_a_cache_that_was_read_is_accepted(build_engine: ModuleType) -> None:
    output = "[I] [TRT] Reading Calibration Cache for calibrator: EntropyCalibration2\n"
    options = build_engine.arguments(["--calibration", "cache"])
    build_engine.require_cache_was_read(output, options)


def test_int8_layers_are_counted_by_their_outputs_alone(build_engine: ModuleType) -> None:
    assert build_engine.int8_layers(LAYERS_BEFORE_11) == (2, 4)
    assert build_engine.int8_layers(LAYERS_FROM_11) == (1, 3)


def test_layer_information_without_details_proves_no_int8(build_engine: ModuleType) -> None:
    assert build_engine.int8_layers({"Layers": ["conv1", "Int8 conv2"]}) == (0, 0)
    assert build_engine.int8_layers({}) == (0, 0)


@pytest.mark.parametrize("model", WITHOUT_INT8)
def test_a_board_without_int8_may_build_in_fp16(build_engine: ModuleType, model: str) -> None:
    build_engine.check_device(model, False, "fp16")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "a\\..\\secret"])
def test_a_manifest_that_names_a_file_outside_is_refused_on_the_board(build_engine, tmp_path, name):
    record = {"bytes": 1, "sha256": "0" * 64}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {name: record}}))
    with pytest.raises(build_engine.BuildError, match="outside this folder"):
        build_engine.read_manifest(str(tmp_path))
