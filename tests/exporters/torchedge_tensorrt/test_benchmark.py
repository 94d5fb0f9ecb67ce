import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.exporters.torchedge_tensorrt.device_outputs import FAILED_RUN, TIMES_8_2, TIMES_10_3
from tests.exporters.torchedge_tensorrt.fake_trtexec import calls, write_fake_trtexec

BOUND = (
    "Throughput may be bound by Enqueue Time rather than GPU Compute "
    "and the GPU may be under-utilized."
)
UNSTABLE = "GPU compute time is unstable, with coefficient of variance = 3.2%."


@pytest.fixture
def engine(copied_bundle: Path) -> Path:
    path = copied_bundle / "model.engine"
    path.write_bytes(b"an engine")
    return path


@pytest.mark.parametrize(
    ("number", "major"), [(8201, 8), (8502, 8), (100300, 10), (101602, 10), (110000, 11)]
)
def test_the_major_version_is_read_from_a_banner(
    benchmark: ModuleType, number: int, major: int
) -> None:
    banner = f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] [b10] # trtexec --help"
    assert benchmark.trtexec_major(banner) == major


def test_a_text_without_a_banner_has_no_version(benchmark: ModuleType) -> None:
    with pytest.raises(benchmark.BenchmarkError, match="shows no TensorRT version"):
        benchmark.trtexec_major("trtexec: command not found")


@pytest.mark.parametrize("major", [8, 10])
def test_cuda_graph_and_spin_wait_are_switched_on_where_they_are_off(
    benchmark: ModuleType, major: int
) -> None:
    assert benchmark.timing_flags(major) == ["--useCudaGraph", "--useSpinWait"]


def test_transfers_are_switched_on_where_they_are_off(benchmark: ModuleType) -> None:
    assert benchmark.timing_flags(11) == ["--includeDataTransfers"]


def test_figures_of_tensorrt_8_2_are_read(benchmark: ModuleType) -> None:
    assert benchmark.parse_trtexec(TIMES_8_2) == {
        "throughput_per_s": 655.308,
        **named("latency", min=1.55, max=2.5, mean=1.61, median=1.6, p99=2.1),
        **named("enqueue_time", min=0.3, max=0.9, mean=0.41, median=0.4, p99=0.7),
        **named("gpu_compute_time", min=1.46, max=2.4, mean=1.52, median=1.51, p99=2.02),
        "warnings": [],
    }


def test_figures_of_tensorrt_10_3_are_read_with_three_percentiles_and_warnings(
    benchmark: ModuleType,
) -> None:
    gpu = {"min": 0.75, "max": 1.3, "mean": 0.77, "median": 0.76}
    latency = {"min": 0.79, "max": 1.4, "mean": 0.81, "median": 0.8}
    enqueue = {"min": 0.00146484, "max": 0.02, "mean": 0.007, "median": 0.006}
    assert benchmark.parse_trtexec(TIMES_10_3) == {
        "throughput_per_s": 1288.25,
        **named("latency", **latency, p90=0.83, p95=0.9, p99=1.1),
        **named("enqueue_time", **enqueue, p90=0.01, p95=0.011, p99=0.015),
        **named("gpu_compute_time", **gpu, p90=0.79, p95=0.85, p99=1.02),
        "warnings": [BOUND, UNSTABLE],
    }


def named(what: str, **statistics: float) -> dict[str, float]:
    return {f"{what}_{statistic}_ms": value for statistic, value in statistics.items()}


def test_the_latency_is_not_that_of_a_transfer(benchmark: ModuleType) -> None:
    assert benchmark.parse_trtexec(TIMES_8_2)["latency_median_ms"] == 1.6


def test_the_last_error_of_a_failed_run_is_passed_on(benchmark: ModuleType) -> None:
    with pytest.raises(benchmark.BenchmarkError, match=r"\[E\] Engine deserialization failed"):
        benchmark.parse_trtexec(FAILED_RUN)


def test_times_of_a_run_that_trtexec_calls_failed_do_not_count(benchmark: ModuleType) -> None:
    with pytest.raises(benchmark.BenchmarkError, match="trtexec failed"):
        benchmark.parse_trtexec(TIMES_10_3.replace("&&&& PASSED", "&&&& FAILED"))


def test_a_log_that_ends_before_the_verdict_does_not_count(benchmark: ModuleType) -> None:
    with pytest.raises(benchmark.BenchmarkError, match="no PASSED line"):
        benchmark.parse_trtexec(TIMES_10_3[: TIMES_10_3.index("&&&& PASSED")])


def test_a_log_without_gpu_times_does_not_count(benchmark: ModuleType) -> None:
    with pytest.raises(benchmark.BenchmarkError, match="no 'GPU Compute Time' line"):
        benchmark.parse_trtexec(TIMES_8_2.replace("GPU Compute Time: min", "GPU Compute: min"))


@pytest.mark.parametrize(("number", "transfers"), [(8201, False), (100300, False), (110000, True)])
def test_a_fake_trtexec_is_run_with_flags_that_change_something(
    benchmark: ModuleType, engine: Path, tmp_path: Path, number: int, transfers: bool
) -> None:
    trtexec = write_fake_trtexec(tmp_path, number, medians=[1, 1, 1])
    benchmark.main(["--trtexec", str(trtexec), "--duration-s", "7"])
    shared = [f"--loadEngine={engine}", "--warmUp=2000", "--avgRuns=100", "--duration=7"]
    special = ["--includeDataTransfers"] if transfers else ["--useCudaGraph", "--useSpinWait"]
    assert calls(tmp_path) == [[*shared, *special]] * 3


def test_the_median_of_the_repetitions_of_a_fake_trtexec_is_written(
    benchmark: ModuleType, engine: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[9.5, 2.5, 1.25, 3.5, 1.5])
    benchmark.main(["--trtexec", str(trtexec), "--repetitions", "5"])
    result = json.loads((engine.parent / "benchmark.json").read_text())
    medians = [run["gpu_compute_time_median_ms"] for run in result["repetitions"]]
    assert medians == [9.5, 2.5, 1.25, 3.5, 1.5]
    assert result["gpu_compute_time_median_ms"] == 2.5
    assert result["repetitions"][0]["latency_median_ms"] == 2.25
    assert result["command"][0] == str(trtexec)


def test_a_repeated_warning_of_a_fake_trtexec_is_printed_once(
    benchmark: ModuleType, engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[1, 2, 3])
    benchmark.main(["--trtexec", str(trtexec)])
    printed = capsys.readouterr().out
    assert "median of each run: 1.000, 2.000, 3.000 ms" in printed
    assert printed.count("trtexec warns: Throughput may be bound by Enqueue Time.\n") == 1


def test_the_board_and_its_power_mode_are_written_beside_the_times_of_a_fake_trtexec(
    benchmark: ModuleType, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = {
        "/proc/device-tree/model": "NVIDIA Jetson Orin Nano",
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.7\nmore",
    }
    nvpmodel = tmp_path / "nvpmodel"
    nvpmodel.write_text("#!/bin/sh\necho NV Power Mode: MAXN\n")
    nvpmodel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(benchmark, "read_text", board.get)
    write_fake_trtexec(tmp_path, 100300, medians=[1, 2, 3])
    benchmark.main(["--out", str(tmp_path / "times.json")])
    assert json.loads((tmp_path / "times.json").read_text())["environment"] == {
        "device": "NVIDIA Jetson Orin Nano",
        "l4t": "# R36 (release), REVISION: 4.7",
        "power_mode": "NV Power Mode: MAXN",
    }


def test_nothing_is_written_when_a_fake_trtexec_fails(
    benchmark: ModuleType, engine: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 8502, fails="[E] Cuda failure: out of memory")
    with pytest.raises(benchmark.BenchmarkError, match="out of memory"):
        benchmark.main(["--trtexec", str(trtexec)])
    assert not (engine.parent / "benchmark.json").exists()


def test_an_engine_that_is_not_there_is_asked_to_be_built(benchmark: ModuleType) -> None:
    with pytest.raises(benchmark.BenchmarkError, match=r"run python3 build_engine\.py first"):
        benchmark.main([])


def test_without_trtexec_its_package_is_named(
    benchmark: ModuleType, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(benchmark, "TRTEXEC", str(tmp_path / "trtexec"))
    with pytest.raises(benchmark.BenchmarkError, match="sudo apt install libnvinfer-bin"):
        benchmark.main([])
