"""A program that takes the command line of a chosen trtexec and refuses any flag it did not have.

Run as ``python fake_trtexec.py '{"number": …, "log": …}' <trtexec's arguments>``. Nothing is
built: the "engine" is a list of the flags.
"""

import json
import shlex
import stat
import sys
from pathlib import Path

NOISE = "[I] [TRT] Starting Calibration."
READ = (
    "[I] [TRT] Reading Calibration Cache for calibrator: EntropyCalibration2\n"
    "[I] [TRT] Generated calibration scales using calibration cache. "
)
TIMES = (
    "[05/06/2025-10:11:{second}] [I] Throughput: 500 qps\n"
    "[05/06/2025-10:11:{second}] [I] Latency: min = 2 ms, max = 3 ms, mean = 2 ms, "
    "median = 2.25 ms, percentile(99%) = 3 ms\n"
    "[05/06/2025-10:11:{second}] [I] GPU Compute Time: min = 1 ms, max = 2 ms, mean = 1.5 ms, "
    "median = {median} ms, percentile(99%) = 2 ms\n"
    "[05/06/2025-10:11:{second}] [I] D2H Latency: min = 0 ms, max = 0 ms, mean = 0 ms, "
    "median = 0.5 ms, percentile(99%) = 0 ms\n"
    "[05/06/2025-10:11:{second}] [W] * Throughput may be bound by Enqueue Time.\n"
)


def write_fake_trtexec(folder: Path, number: int, **behaviour: object) -> Path:
    """Put an executable ``trtexec`` into a folder; it writes its calls to ``calls.jsonl`` there."""
    config = json.dumps({"number": number, "log": str(folder / "calls.jsonl"), **behaviour})
    path = folder / "trtexec"
    command = shlex.join([sys.executable, "-S", str(Path(__file__).absolute()), config])
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def calls(folder: Path) -> list[list[str]]:
    """The arguments of each call so far, the questions for ``--help`` left out."""
    lines = (folder / "calls.jsonl").read_text().splitlines()
    return [call for line in lines if (call := json.loads(line)) != ["--help"]]


def known_flags(number: int) -> set[str]:
    """Flags of a version, by NVIDIA's ``sampleOptions.cpp`` of each release."""
    version = decoded(number)
    flags = {"--onnx", "--saveEngine", "--loadEngine", "--warmUp", "--avgRuns", "--duration"}
    flags |= {"--useCudaGraph", "--useSpinWait", "--noDataTransfers"}
    flags |= {"--int8", "--fp16", "--calib"} if version < (11, 0) else {"--includeDataTransfers"}
    flags |= {"--workspace"} if version < (10, 0) else set()
    flags |= {"--memPoolSize"} if version >= (8, 4) else set()
    flags |= {"--buildOnly"} if version <= (8, 6) else set()
    flags |= {"--skipInference"} if version >= (8, 6) else set()
    return flags | ({"--exportLayerInfo", "--profilingVerbosity"} if version >= (8, 2) else set())


def decoded(number: int) -> tuple[int, int]:
    """Major and minor: five digits count the major by thousands, six by ten thousands."""
    if number < 100000:
        return number // 1000, number // 100 % 10
    return number // 10000, number // 100 % 100


def main(config: dict[str, object], arguments: list[str]) -> int:
    """Print a banner, do what was asked, and end as trtexec does."""
    number = int(str(config["number"]))
    with Path(str(config["log"])).open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    banner = f"TensorRT.trtexec [TensorRT v{number}] # trtexec {' '.join(arguments)}\n"
    sys.stdout.write("&&&& RUNNING " + banner)
    if arguments == ["--help"]:
        return 0
    options = dict(argument.partition("=")[::2] for argument in arguments)
    errors = [f"[E] Unknown option: {f}" for f in options if f not in known_flags(number)]
    errors += [str(config["fails"])] if "fails" in config else []
    if not errors:
        errors = timed(config) if "--loadEngine" in options else built(config, options)
    if "killed" in config:
        return 137
    sys.stdout.write("".join(f"{error}\n" for error in errors))
    sys.stdout.write(("&&&& FAILED " if errors else "&&&& PASSED ") + banner)
    return 1 if errors else 0


def built(config: dict[str, object], options: dict[str, str]) -> list[str]:
    """Write the "engine" and the layer information; errors where the real one has some."""
    number = int(str(config["number"]))
    explicit = b"QuantizeLinear" in Path(options["--onnx"]).read_bytes()
    if explicit and decoded(number) < (11, 0) and "--int8" not in options:
        return ["[E] Error[4]: int8 layers need the flag --int8"]
    if "--calib" in options:
        header = Path(options["--calib"]).read_text().split("\n")[0]
        accepted = header == f"TRT-{number}-EntropyCalibration2" and "deaf" not in config
        sys.stdout.write((READ if accepted else NOISE) + "\n")
    Path(options["--saveEngine"]).write_text(json.dumps(sorted(options)))
    if "--exportLayerInfo" in options:
        Path(options["--exportLayerInfo"]).write_text(json.dumps(config["layers"]))
    return []


def timed(config: dict[str, object]) -> list[str]:
    """Print times whose median is the next of the configured ones."""
    earlier = calls(Path(str(config["log"])).parent)
    call = sum(argument.startswith("--loadEngine") for line in earlier for argument in line)
    median = config["medians"][call - 1]  # type: ignore[index]
    sys.stdout.write(TIMES.format(median=median, second=10 + call))
    return []


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
