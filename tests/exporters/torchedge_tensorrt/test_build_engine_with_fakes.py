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
        (
            "--precision fp16",
            r"takes its precision from the ONNX file, and this bundle has no model_f",
        ),
        ("--calibration cache", "TensorRT 11.0.0 has no calibrators"),
        ("--precision fp16 --calibration cache", "FP16 needs no INT8 scales"),
    ],
)
def test_what_tensorrt_11_cannot_be_asked_for_is_refused_with_fake_and_module_alike(
    build: Build,
    build_engine: ModuleType,
    copied_bundle: Path,
    tmp_path: Path,
    words: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build_engine, "has_half", lambda folder: False)
    trtexec = write_fake_trtexec(tmp_path, 110000, layers=LAYERS_FROM_11)
    with pytest.raises(build_engine.BuildError, match=message):
        build(*words.split(), "--trtexec", str(trtexec))
    assert calls(tmp_path) == []
    with pytest.raises(build_engine.BuildError, match=message):
        build(*words.split(), module=fake_tensorrt("11.0.0.114"))


@pytest.mark.parametrize("version", ["11.0.0.114", "11.4.0.9"])
def test_a_fake_tensorrt_11_builds_fp16_from_the_float16_file_beside_int8(
    build: Build, copied_bundle: Path, version: str
) -> None:
    build(module=fake_tensorrt(version))
    asked = {
        name: json.loads((copied_bundle / name).read_text())
        for name in ("model.engine", "model_fp16.engine")
    }
    assert [(a["half"], a["quantizers"]) for a in asked.values()] == [(False, True), (True, False)]
    entries = json.loads((copied_bundle / "engines.json").read_text())["engines"]
    assert [(e["precision"], e["int8_layers"]) for e in entries] == [("int8", 1), ("fp16", 0)]


def test_a_fake_trtexec_11_gets_the_float16_file_and_no_flag_for_it(
    build: Build, copied_bundle: Path, tmp_path: Path
) -> None:
    build("--trtexec", str(write_fake_trtexec(tmp_path, 110400, layers=LAYERS_FROM_11)))
    _, command = builds(tmp_path)
    assert f"--onnx={copied_bundle / 'model_fp16.onnx'}" in command
    assert "--fp16" not in command


def test_memory_is_asked_for_by_the_file_that_a_fake_tensorrt_11_builds_fp16_from(
    build: Build, build_engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        build_engine,
        "check_memory",
        lambda folder, options, version: asked.append(build_engine.model_file(options, version)),
    )
    build("--precision", "fp16", module=fake_tensorrt("11.4.0.9"))
    assert asked == ["model_fp16.onnx"]


def test_fp16_without_its_file_is_refused_by_a_fake_tensorrt_11_and_not_for_want_of_memory(
    build: Build, build_engine: ModuleType, copied_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = json.loads((copied_bundle / "manifest.json").read_text())
    monkeypatch.setattr(build_engine, "read_manifest", lambda folder: manifest)
    (copied_bundle / "model_fp16.onnx").unlink()
    with pytest.raises(build_engine.BuildError, match=r"this bundle has no model_fp16\.onnx"):
        build("--precision", "fp16", module=fake_tensorrt("11.4.0.9"))


def test_without_the_float16_file_a_fake_tensorrt_11_builds_int8_alone_and_says_so(
    build: Build,
    build_engine: ModuleType,
    copied_bundle: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build_engine, "has_half", lambda folder: False)
    build(module=fake_tensorrt("11.4.0.9"))
    assert "FP16 engine: not built, TensorRT 11 needs model_fp16.onnx" in capsys.readouterr().out
    assert not (copied_bundle / "model_fp16.engine").exists()


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
    assert [entry["precision"] for entry in record["engines"]] == ["int8", "fp16"]
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


@pytest.fixture
def with_accelerator(copied_bundle: Path) -> None:
    """Says in the manifest that the bundle is for a board with two accelerators."""
    path = copied_bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["details"] |= {"dla_cores": 2, "device": "Jetson Orin NX"}
    path.write_text(json.dumps(manifest))


@pytest.mark.usefixtures("with_accelerator")
@pytest.mark.parametrize("version", ["8.2.1.8", "8.5.2.2", "8.6.2.3", "10.3.0.30"])
def test_a_fake_tensorrt_builds_for_the_accelerator_from_the_cache_with_the_gpu_as_fall_back(
    build: Build, copied_bundle: Path, version: str
) -> None:
    build("--dla", "1", "--calibration", "cache", module=fake_tensorrt(version))
    for name, flags in (("model", ["INT8", "FP16"]), ("model_fp16", ["FP16"])):
        asked = json.loads((copied_bundle / f"{name}.engine").read_text())
        assert (asked["device"], asked["core"]) == ("DLA", 1)
        assert asked["flags"] == [*flags, "GPU_FALLBACK"]
        assert not asked["quantizers"]
    entries = json.loads((copied_bundle / "engines.json").read_text())["engines"]
    assert [(e["dla_core"], e["golden"]["top1_agreement"]) for e in entries] == [(1, 1), (1, 1)]


@pytest.mark.usefixtures("with_accelerator")
def test_a_fake_tensorrt_11_builds_for_the_accelerator_from_the_scales_in_the_file(
    build: Build, copied_bundle: Path
) -> None:
    build("--dla", "0", module=fake_tensorrt("11.4.1.9"))
    asked = json.loads((copied_bundle / "model.engine").read_text())
    assert (asked["device"], asked["quantizers"], asked["flags"]) == ("DLA", True, ["GPU_FALLBACK"])
    assert asked["parser_flags"] == ["ADJUST_FOR_DLA"]


@pytest.mark.usefixtures("with_accelerator")
@pytest.mark.parametrize("number", [8201, 8502, 8602, 100300])
def test_a_fake_trtexec_builds_for_the_accelerator_with_the_gpu_as_fall_back(
    build: Build, copied_bundle: Path, tmp_path: Path, number: int
) -> None:
    trtexec = write_fake_trtexec(tmp_path, number, layers=LAYERS_BEFORE_11)
    build("--trtexec", str(trtexec), "--dla", "0", "--calibration", "cache")
    for command in builds(tmp_path):
        assert {"--useDLACore=0", "--allowGPUFallback"} <= set(command)
    entries = json.loads((copied_bundle / "engines.json").read_text())["engines"]
    assert [(e["precision"], e["dla_core"]) for e in entries] == [("int8", 0), ("fp16", 0)]


@pytest.mark.usefixtures("with_accelerator")
@pytest.mark.parametrize(
    ("version", "words", "message"),
    [
        ("10.3.0.30", "--dla 0", "takes no Q/DQ before TensorRT 11; add --calibration cache"),
        ("10.16.2.10", "--dla 0 --calibration cache", "no deep learning accelerator as far as"),
        ("11.4.0.9", "--dla 0", "no deep learning accelerator as far as"),
        ("10.3.0.30", "--dla 2 --calibration cache", "DLA core 2 is not here, there are 2"),
    ],
)
def test_what_the_accelerator_of_a_fake_tensorrt_cannot_run_is_refused(
    build: Build,
    build_engine: ModuleType,
    copied_bundle: Path,
    version: str,
    words: str,
    message: str,
) -> None:
    with pytest.raises(build_engine.BuildError, match=message):
        build(*words.split(), module=fake_tensorrt(version))
    assert not list(copied_bundle.glob("*.engine"))


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


def changed_manifest(folder: Path, **details: object) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["details"] |= details
    path.write_text(json.dumps(manifest))


def another_model(folder: Path, build_engine: ModuleType) -> None:
    """Another model in place of the one that was calibrated, with a manifest that fits it."""
    path = folder / "model_fp32.onnx"
    path.write_bytes(b"another model")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name]["sha256"] = build_engine.sha256_of(str(path))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def open_shape(folder: Path, build_engine: ModuleType) -> None:
    changed_manifest(folder, dla_cores=2)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["inputs"][0]["shape"][0] = "batch"
    (folder / "manifest.json").write_text(json.dumps(manifest))


BAD_INPUT: dict[str, tuple[Callable[[Path, ModuleType], object], str, str]] = {
    "another board": (
        lambda folder, script: changed_manifest(folder, device_model_names=["AGX Orin"]),
        "",
        "and this board says it is 'NVIDIA Jetson Orin Nano'",
    ),
    "an older TensorRT": (
        lambda folder, script: changed_manifest(folder, tensorrt_at_least="8.6.0"),
        "",
        r"this board has TensorRT 8\.5\.2; the models \(opset 13\) are for 8\.6\.0 up to 12",
    ),
    "a newer TensorRT": (
        lambda folder, script: changed_manifest(folder, tensorrt_below="8.5.0"),
        "",
        r"this board has TensorRT 8\.5\.2",
    ),
    "a cache of another model": (another_model, "", "was made for another model"),
    "a changed file": (
        lambda folder, script: (folder / "model_qdq.onnx").write_bytes(b"changed"),
        "",
        r"model_qdq\.onnx does not match its SHA-256",
    ),
    "too little memory": (
        lambda folder, script: setattr(script, "FLOOR_MIB", 10**9),
        "",
        "MiB of memory are free and the build should have",
    ),
    "a GPU without INT8": (
        lambda folder, script: setattr(script, "device_model", lambda: "NVIDIA Jetson TX2"),
        "",
        "NVIDIA Jetson TX2 has no INT8 arithmetic",
    ),
    "an open shape for the accelerator": (
        open_shape,
        "--dla 0 --calibration cache",
        r"open shape \['batch', 1, 8, 8\], which the accelerator cannot run",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_line_before_even_a_fake_trtexec_builds(
    build: Build, build_engine: ModuleType, copied_bundle: Path, tmp_path: Path, case: str
) -> None:
    spoil, words, message = BAD_INPUT[case]
    trtexec = write_fake_trtexec(tmp_path, 8502, layers=LAYERS_BEFORE_11)
    build_engine.device_model = lambda: "NVIDIA Jetson Orin Nano"  # type: ignore[attr-defined]
    spoil(copied_bundle, build_engine)
    with pytest.raises(build_engine.BuildError, match=message) as error:
        build_engine.main([*words.split(), "--trtexec", str(trtexec)])
    assert "\n" not in str(error.value)
    assert calls(tmp_path) == []
    assert not list(copied_bundle.glob("*.engine*"))
