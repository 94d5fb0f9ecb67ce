import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.exporters.torchedge_tensorrt.device_outputs import LAYERS_BEFORE_11, LAYERS_FROM_11
from tests.exporters.torchedge_tensorrt.fake_tensorrt import FakeCudart, fake_tensorrt
from tests.exporters.torchedge_tensorrt.fake_trtexec import builds, calls, write_fake_trtexec

TRTEXEC_NUMBERS = [8001, 8201, 8502, 8602, 100300, 101602, 110400]
MODULE_VERSIONS = [
    "8.0.1.6",
    "8.2.1.8",
    "8.5.2.2",
    "8.6.2.3",
    "10.3.0.30",
    "10.16.2.10",
    "11.0.0.114",
    "11.4.0.9",
]
WITH_CALIBRATORS = [version for version in MODULE_VERSIONS if not version.startswith("11.")]
FLOAT_LAYERS = json.loads(json.dumps(LAYERS_BEFORE_11).replace("Int8", "FP16"))

Build = Callable[..., Any]


@pytest.fixture
def build(build_engine: ModuleType, copied_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Runs the script on an Orin Nano whose ``tensorrt`` module is the given one, or missing."""

    def run(*words: str, module: object = None) -> Any:
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        if module is not None:
            module.cudart = FakeCudart(copied_bundle)  # type: ignore[attr-defined]
            monkeypatch.setattr(build_engine.ctypes, "CDLL", lambda name: module.cudart)
        monkeypatch.setattr(build_engine, "device_model", lambda: "NVIDIA Jetson Orin Nano")
        build_engine.main(list(words))

    return run


def layers_of(number: int) -> dict[str, Any]:
    return LAYERS_FROM_11 if number >= 110000 else LAYERS_BEFORE_11


@pytest.mark.parametrize("number", TRTEXEC_NUMBERS)
def test_a_fake_trtexec_of_each_version_builds_the_quantised_model(
    build: Build, copied_bundle: Path, tmp_path: Path, number: int
) -> None:
    trtexec = write_fake_trtexec(tmp_path, number, layers=layers_of(number))
    build("--trtexec", str(trtexec))
    command, *_ = builds(tmp_path)
    assert f"--onnx={copied_bundle / 'model_qdq.onnx'}" in command
    assert json.loads((copied_bundle / "model.engine").read_text())
    assert not list(copied_bundle.glob("*.partial"))


@pytest.mark.parametrize(
    ("number", "share"),
    [(8001, "not known (no readable layer information)"), (8502, "2 of 4"), (110000, "1 of 3")],
)
def test_the_share_of_int8_layers_of_a_fake_trtexec_is_printed(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, share: str
) -> None:
    build("--trtexec", str(write_fake_trtexec(tmp_path, number, layers=layers_of(number))))
    printed = capsys.readouterr().out
    assert f"bytes, layers with INT8 output: {share}\n" in printed
    assert printed.endswith("model tiny for Jetson Orin Nano\n")


@pytest.mark.parametrize("number", [n for n in TRTEXEC_NUMBERS if n < 110000])
def test_a_fake_trtexec_gets_the_cache_with_its_own_header(
    build: Build, copied_bundle: Path, tmp_path: Path, number: int
) -> None:
    trtexec = write_fake_trtexec(tmp_path, number, layers=LAYERS_BEFORE_11)
    build("--trtexec", str(trtexec), "--calibration", "cache")
    command, *_ = builds(tmp_path)
    assert f"--onnx={copied_bundle / 'model_fp32.onnx'}" in command
    assert (copied_bundle / "model.engine").exists()


def test_no_engine_is_kept_when_a_fake_trtexec_calibrates_on_noise(
    build: Build, build_engine: ModuleType, copied_bundle: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, layers=LAYERS_BEFORE_11, deaf=True)
    with pytest.raises(build_engine.BuildError, match=r"did not read calibration\.cache"):
        build("--trtexec", str(trtexec), "--calibration", "cache")
    assert not (copied_bundle / "model.engine").exists()


def test_no_engine_is_kept_when_no_layer_of_a_fake_trtexec_is_int8(
    build: Build, build_engine: ModuleType, copied_bundle: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, layers=FLOAT_LAYERS)
    with pytest.raises(build_engine.BuildError, match="none of the 4 layers has an INT8 output"):
        build("--trtexec", str(trtexec))
    assert not (copied_bundle / "model.engine").exists()


def test_the_last_error_of_a_fake_trtexec_is_passed_on(
    build: Build, build_engine: ModuleType, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 8502, fails="[E] Error[2]: out of memory")
    with pytest.raises(build_engine.BuildError, match=r"trtexec failed: \[E\] Error\[2\]: out of"):
        build("--trtexec", str(trtexec))


def test_no_engine_is_kept_when_a_fake_trtexec_is_killed(
    build: Build, build_engine: ModuleType, copied_bundle: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 8502, layers=LAYERS_BEFORE_11, killed=True)
    with pytest.raises(build_engine.BuildError, match="trtexec failed: its output is above"):
        build("--trtexec", str(trtexec))
    assert not (copied_bundle / "model.engine").exists()


def test_a_flag_that_a_fake_trtexec_does_not_know_would_be_noticed(tmp_path: Path) -> None:
    trtexec = write_fake_trtexec(tmp_path, 110000, layers=LAYERS_FROM_11)
    result = subprocess.run([trtexec, "--int8"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "[E] Unknown option: --int8" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--precision fp16", "TensorRT 11.0.0 takes its precision from the ONNX file"),
        ("--calibration cache", "TensorRT 11.0.0 has no calibrators"),
        ("--precision fp16 --calibration cache", "FP16 needs no INT8 scales"),
    ],
)
def test_what_tensorrt_11_cannot_be_asked_for_is_refused_with_fake_and_module_alike(
    build: Build, build_engine: ModuleType, tmp_path: Path, words: str, message: str
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 110000, layers=LAYERS_FROM_11)
    with pytest.raises(build_engine.BuildError, match=message):
        build(*words.split(), "--trtexec", str(trtexec))
    assert calls(tmp_path) == []
    with pytest.raises(build_engine.BuildError, match=message):
        build(*words.split(), module=fake_tensorrt("11.0.0.114"))


def test_fp16_with_int8_scales_is_refused_by_a_fake_tensorrt_of_any_version(
    build: Build, build_engine: ModuleType
) -> None:
    with pytest.raises(build_engine.BuildError, match="FP16 needs no INT8 scales"):
        build("--precision", "fp16", "--calibration", "cache", module=fake_tensorrt("10.3.0.30"))


@pytest.mark.parametrize("version", MODULE_VERSIONS)
def test_a_fake_tensorrt_of_each_version_builds_the_quantised_model(
    build: Build, copied_bundle: Path, version: str
) -> None:
    build("--workspace-mib", "512", module=fake_tensorrt(version))
    asked = json.loads((copied_bundle / "model.engine").read_text())
    assert asked["quantizers"]
    assert asked["flags"] == ([] if version.startswith("11.") else ["INT8", "FP16"])
    assert asked["WORKSPACE"] == 512 * 2**20
    assert asked["verbosity"] == (None if version.startswith("8.0") else "DETAILED")


@pytest.mark.parametrize("version", MODULE_VERSIONS)
def test_the_golden_samples_run_on_a_fake_tensorrt_and_a_fake_libcudart_without_leaks(
    build: Build, copied_bundle: Path, version: str
) -> None:
    module = fake_tensorrt(version)
    build("--precision", "int8", module=module)
    (entry,) = json.loads((copied_bundle / "engines.json").read_text())["engines"]
    assert entry["golden"]["top1_agreement"] == 1
    assert entry["golden"]["cosine_similarity"] == pytest.approx(1)
    assert module.cudart.blocks == {}


@pytest.mark.parametrize("version", WITH_CALIBRATORS)
def test_a_fake_tensorrt_reads_the_cache_with_its_own_header(
    build: Build, copied_bundle: Path, version: str
) -> None:
    build("--calibration", "cache", module=fake_tensorrt(version))
    asked = json.loads((copied_bundle / "model.engine").read_text())
    shipped = (copied_bundle / "calibration.cache").read_text()
    assert not asked["quantizers"]
    assert asked["cache"].split("\n")[1:] == shipped.split("\n")[1:]


@pytest.mark.parametrize("version", WITH_CALIBRATORS)
def test_a_fake_tensorrt_is_asked_for_fp16_alone(
    build: Build, copied_bundle: Path, version: str
) -> None:
    build("--precision", "fp16", module=fake_tensorrt(version))
    asked = json.loads((copied_bundle / "model.engine").read_text())
    assert asked["flags"] == ["FP16"]
    assert not asked["quantizers"]


@pytest.mark.parametrize(
    ("version", "share"),
    [
        ("8.0.1.6", "not known (no readable layer information)"),
        ("10.3.0.30", "2 of 4"),
        ("11.0.0.114", "1 of 3"),
    ],
)
def test_the_share_of_int8_layers_of_a_fake_tensorrt_is_printed(
    build: Build, capsys: pytest.CaptureFixture[str], version: str, share: str
) -> None:
    build(module=fake_tensorrt(version))
    assert f"layers with INT8 output: {share}\n" in capsys.readouterr().out


def test_the_parsers_own_words_of_a_fake_tensorrt_are_passed_on(
    build_engine: ModuleType, tmp_path: Path
) -> None:
    module = fake_tensorrt("10.3.0.30")
    (tmp_path / "model_qdq.onnx").write_bytes(b"broken")
    with pytest.raises(
        build_engine.BuildError, match=r"cannot read model_qdq\.onnx: Failed to parse"
    ):
        build_engine.build_with_module(module, str(tmp_path), build_engine.arguments([]))


def test_a_fake_tensorrt_that_asks_for_data_did_not_read_the_cache(
    build: Build, build_engine: ModuleType, copied_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_engine, "localised_cache", lambda folder, version: "TRT-1-X\n")
    with pytest.raises(build_engine.BuildError, match=r"did not read calibration\.cache"):
        build("--calibration", "cache", module=fake_tensorrt("10.3.0.30"))
    assert not (copied_bundle / "model.engine").exists()


def test_a_fake_trtexec_on_the_path_is_found_without_the_module(
    build: Build, copied_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fake_trtexec(tmp_path, 8502, layers=LAYERS_BEFORE_11)
    monkeypatch.setenv("PATH", str(tmp_path))
    build("--out", str(copied_bundle / "other.engine"))
    assert (copied_bundle / "other.engine").exists()
    assert not list(copied_bundle.glob("model.engine*"))


def test_a_fake_trtexec_that_is_asked_for_goes_before_the_module(
    build: Build, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, layers=LAYERS_BEFORE_11)
    build("--trtexec", str(trtexec), module=fake_tensorrt("10.3.0.30"))
    assert len(builds(tmp_path)) == 2  # INT8, and FP16 beside it


def test_without_module_and_without_even_a_fake_trtexec_the_package_is_named(
    build: Build, build_engine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build_engine, "TRTEXEC", str(tmp_path / "trtexec"))
    with pytest.raises(build_engine.BuildError, match="sudo apt install python3-libnvinfer"):
        build()


def test_a_program_that_is_not_even_a_fake_trtexec_is_recognised(
    build: Build, build_engine: ModuleType
) -> None:
    with pytest.raises(build_engine.BuildError, match=r"--help shows no TensorRT version"):
        build("--trtexec", "/bin/echo")


@pytest.mark.parametrize(
    ("number", "version"),
    [
        (8201, (8, 2, 1)),
        (8412, (8, 4, 12)),
        (8502, (8, 5, 2)),
        (100300, (10, 3, 0)),
        (101602, (10, 16, 2)),
    ],
)
def test_the_version_of_a_fake_trtexec_is_read_from_its_banner(
    build_engine: ModuleType, tmp_path: Path, number: int, version: tuple[int, int, int]
) -> None:
    assert build_engine.trtexec_version(str(write_fake_trtexec(tmp_path, number))) == version


@pytest.mark.parametrize("number", TRTEXEC_NUMBERS)
def test_the_golden_samples_run_on_a_fake_trtexec_of_each_version_for_int8_and_fp16(
    build: Build, copied_bundle: Path, tmp_path: Path, number: int
) -> None:
    build("--trtexec", str(write_fake_trtexec(tmp_path, number, layers=layers_of(number))))
    record = json.loads((copied_bundle / "engines.json").read_text())
    precisions = ["int8"] if number >= 110000 else ["int8", "fp16"]  # 11 cannot be asked for FP16
    assert [entry["precision"] for entry in record["engines"]] == precisions
    for entry in record["engines"]:
        assert entry["golden"]["batches"] == 4
        assert entry["golden"]["cosine_similarity"] == pytest.approx(1)
        assert entry["golden"]["top1_agreement"] == 1
        assert (copied_bundle / entry["file"]).exists()


def test_no_engine_is_kept_when_a_fake_trtexec_answers_the_golden_samples_wrongly(
    build: Build, build_engine: ModuleType, copied_bundle: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, layers=LAYERS_BEFORE_11, scrambled=True)
    with pytest.raises(build_engine.BuildError, match="cosine similarity of"):
        build("--trtexec", str(trtexec))
    assert not list(copied_bundle.glob("model*.engine*"))


@pytest.mark.parametrize("number", [8201, 101602])
def test_the_accelerator_is_refused_where_the_board_of_a_fake_trtexec_has_none(
    build: Build, build_engine: ModuleType, tmp_path: Path, number: int
) -> None:
    trtexec = write_fake_trtexec(tmp_path, number, layers=LAYERS_BEFORE_11)
    with pytest.raises(build_engine.BuildError, match="Orin Nano has no deep learning accelerator"):
        build("--trtexec", str(trtexec), "--dla", "0")
    assert calls(tmp_path) == []


def test_a_fake_tensorrt_reuses_its_timings(build: Build, copied_bundle: Path) -> None:
    build("--precision", "int8", module=fake_tensorrt("10.3.0.30"))
    build("--precision", "int8", module=fake_tensorrt("10.3.0.30"))
    assert (copied_bundle / "timing.cache").read_bytes() == b"+timings+timings"


def test_type_stubs_in_the_place_of_a_fake_tensorrt_are_no_builder(
    build_engine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    trtexec = write_fake_trtexec(tmp_path, 100300)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = build_engine.find_builder(build_engine.arguments([]))
    assert found == (None, str(trtexec))
