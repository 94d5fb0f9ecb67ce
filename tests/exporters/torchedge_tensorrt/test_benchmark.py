import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.exporters.torchedge_tensorrt.device_outputs import FAILED_RUN, TIMES_8_2, TIMES_10_3
from tests.exporters.torchedge_tensorrt.fake_trtexec import timings, write_fake_trtexec

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
    ("number", "version"),
    [
        (8201, (8, 2, 1)),
        (8412, (8, 4, 12)),
        (8502, (8, 5, 2)),
        (100300, (10, 3, 0)),
        (101602, (10, 16, 2)),
        (110400, (11, 4, 0)),
    ],
)
def test_the_version_is_read_from_a_banner(
    benchmark: ModuleType, number: int, version: tuple[int, int, int]
) -> None:
    banner = f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] [b10] # trtexec --help"
    assert benchmark.trtexec_version(banner) == version


def test_a_text_without_a_banner_has_no_version(benchmark: ModuleType) -> None:
    assert benchmark.trtexec_version("trtexec: command not found") is None


@pytest.mark.parametrize(
    ("version", "transfers", "cuda_graph", "flags"),
    [
        ((8, 5, 2), True, True, "--useCudaGraph --useSpinWait"),
        ((10, 3, 0), False, True, "--useCudaGraph --useSpinWait --noDataTransfers"),
        ((10, 3, 0), True, False, "--useSpinWait"),
        ((11, 4, 0), True, True, "--includeDataTransfers"),
        ((11, 4, 0), False, False, "--noCudaGraph"),
    ],
)
def test_the_same_is_asked_of_versions_with_opposite_defaults(
    benchmark: ModuleType,
    version: tuple[int, int, int],
    transfers: bool,
    cuda_graph: bool,
    flags: str,
) -> None:
    assert benchmark.timing_flags(version, transfers, cuda_graph) == flags.split()


def test_figures_of_tensorrt_8_2_are_read(benchmark: ModuleType) -> None:
    assert benchmark.parse_trtexec(TIMES_8_2) == {
        "throughput_per_s": 655.308,
        "walltime_s": 3.00622,
        **named("h2d_latency", min=0.05, max=0.09, mean=0.061, median=0.06, p99=0.08),
        **named("d2h_latency", min=0.02, max=0.05, mean=0.031, median=0.03, p99=0.04),
        **named("end_to_end_latency", min=2.9, max=4.5, mean=3.1, median=3.02, p99=3.9),
        **named("latency", min=1.55, max=2.5, mean=1.61, median=1.6, p99=2.1),
        **named("enqueue_time", min=0.3, max=0.9, mean=0.41, median=0.4, p99=0.7),
        **named("gpu_compute_time", min=1.46, max=2.4, mean=1.52, median=1.51, p99=2.02),
        "warnings": [],
    }


def test_figures_of_tensorrt_10_3_are_read_with_three_percentiles_and_warnings(
    benchmark: ModuleType,
) -> None:
    gpu = {"min": 0.75, "max": 1.3, "mean": 0.77, "median": 0.76}
    d2h = {"median": 0.02, "p90": 0.03, "p95": 0.03, "p99": 0.04}
    latency = {"min": 0.79, "max": 1.4, "mean": 0.81, "median": 0.8}
    enqueue = {"min": 0.00146484, "max": 0.02, "mean": 0.007, "median": 0.006}
    assert benchmark.parse_trtexec(TIMES_10_3) == {
        "throughput_per_s": 1288.25,
        "walltime_s": 3.00175,
        **named("h2d_latency", min=0, max=0, mean=0, median=0, p90=0, p95=0, p99=0),
        **named("d2h_latency", min=0.02, max=0.04, mean=0.021, **d2h),
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
        benchmark.parse_trtexec(TIMES_8_2.replace("GPU Compute Time: min", "GPU Time: min"))


@pytest.mark.parametrize("number", [8201, 8502, 8602, 100300, 101602, 110400])
def test_a_fake_trtexec_of_each_version_takes_every_flag(
    benchmark: ModuleType, engine: Path, tmp_path: Path, number: int
) -> None:
    trtexec = write_fake_trtexec(tmp_path, number, medians=[1, 1, 1])
    benchmark.main(["--trtexec", str(trtexec), "--duration-s", "7"])
    shared = [f"--loadEngine={engine}", "--warmUp=2000", "--avgRuns=100", "--iterations=100"]
    shared += ["--percentile=99", "--duration=7"]
    old = ["--useCudaGraph", "--useSpinWait"]
    special = ["--includeDataTransfers"] if number >= 110000 else old
    assert timings(tmp_path) == [[*shared, *special]] * 3


def result_of(engine: Path) -> dict[str, Any]:
    return json.loads((engine.parent / "benchmark.json").read_text())["engines"][0]


def test_the_median_of_the_repetitions_of_a_fake_trtexec_is_written(
    benchmark: ModuleType, engine: Path, tmp_path: Path
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[9.5, 2.5, 1.25, 3.5, 1.5])
    benchmark.main(["--trtexec", str(trtexec), "--repetitions", "5"])
    result = result_of(engine)
    medians = [run["gpu_compute_time_median_ms"] for run in result["repetitions"]]
    assert medians == [9.5, 2.5, 1.25, 3.5, 1.5]
    assert result["gpu_compute_time_median_ms"] == 2.5
    assert result["spread_of_medians"] == pytest.approx(9.5 / 1.25 - 1)
    assert result["repetitions"][0]["latency_median_ms"] == 2.25
    assert result["command"][0] == str(trtexec)
    assert result["images_per_s"] == 500 * 4  # queries of a batch of four


def test_a_run_of_a_fake_trtexec_that_grows_slower_is_called_throttled(
    benchmark: ModuleType, engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[1, 1.04, 1.06])
    benchmark.main(["--trtexec", str(trtexec)])
    assert result_of(engine)["throttled"]
    assert "throttled: the clocks fell" in capsys.readouterr().out


def test_a_repeated_warning_of_a_fake_trtexec_is_printed_once(
    benchmark: ModuleType, engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[3, 2, 1])
    benchmark.main(["--trtexec", str(trtexec)])
    printed = capsys.readouterr().out
    assert "2.000" in printed
    assert "throttled" not in printed
    assert printed.count("trtexec warns: Throughput may be bound by Enqueue Time.\n") == 1
    assert "power: not measured" in printed


def test_the_board_and_its_power_mode_are_written_beside_the_times_of_a_fake_trtexec(
    benchmark: ModuleType, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = {
        "/proc/device-tree/model": "NVIDIA Jetson Orin Nano",
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.7\nmore",
    }
    program(tmp_path / "nvpmodel", "echo NV Power Mode: MAXN; echo 0")
    program(tmp_path / "jetson_clocks", "echo GPU MaxFreq=1020000000")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(benchmark, "read_text", lambda path: board.get(path, ""))
    write_fake_trtexec(tmp_path, 100300, medians=[1, 2, 3])
    benchmark.main(["--out", str(tmp_path / "times.json")])
    assert json.loads((tmp_path / "times.json").read_text())["environment"] == {
        "device": "NVIDIA Jetson Orin Nano",
        "l4t": "# R36 (release), REVISION: 4.7",
        "power_mode_name": "MAXN",
        "power_mode": 0,
        "clocks": "GPU MaxFreq=1020000000",
    }


def program(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_power_of_a_fake_tegrastats_becomes_energy_without_and_with_idle(
    benchmark: ModuleType, engine: Path, tmp_path: Path
) -> None:
    busy = "GR3D_FREQ 99%@[1020] gpu@53.5C VDD_IN 9000mW/5000mW VDD_SOC 1000mW/1000mW"
    quiet = busy.replace("9000mW", "5000mW")
    running = tmp_path / "calls.jsonl"
    loop = f"while :; do if [ -e {running}.timing ]; then echo '{busy}'; else echo '{quiet}'; fi; "
    stats = program(tmp_path / "tegrastats", loop + "sleep 0.02; done")
    trtexec = write_fake_trtexec(
        tmp_path, 100300, medians=[1], seconds=0.6, timing=f"{running}.timing"
    )
    words = ["--trtexec", str(trtexec), "--tegrastats", str(stats), "--idle-s", "0.4"]
    benchmark.main([*words, "--warm-up-ms", "100", "--repetitions", "1"])
    report = json.loads((engine.parent / "benchmark.json").read_text())
    result = result_of(engine)
    assert report["settings"]["power_rails"] == ["VDD_IN"]
    assert report["settings"]["idle_power_mw"] == 5000
    assert result["power_mw"] == 9000
    assert result["energy_gross_mj"] == 9000 / (500 * 4)
    assert result["energy_above_idle_mj"] == 4000 / (500 * 4)
    assert result["repetitions"][0]["temperature_c"] == {"gpu": 53.5}


def test_max_clocks_are_set_with_a_fake_sudo_in_the_largest_mode(
    benchmark: ModuleType, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "sudo", f'echo "sudo $@" >> {tmp_path}/sudo.log')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    modes = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    monkeypatch.setattr(
        benchmark, "read_text", lambda path: modes if "nvpmodel" in str(path) else ""
    )
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[1, 1, 1])
    benchmark.main(["--trtexec", str(trtexec), "--max-clocks"])
    assert (tmp_path / "sudo.log").read_text() == "sudo -n nvpmodel -m 2\nsudo -n jetson_clocks\n"


def test_clocks_that_a_fake_sudo_refuses_to_set_are_an_error_before_anything_is_timed(
    benchmark: ModuleType, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "sudo", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    trtexec = write_fake_trtexec(tmp_path, 100300, medians=[1])
    with pytest.raises(benchmark.BenchmarkError, match="sudo -n jetson_clocks' ended with 1"):
        benchmark.main(["--trtexec", str(trtexec), "--max-clocks"])
    assert timings(tmp_path) == []


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
