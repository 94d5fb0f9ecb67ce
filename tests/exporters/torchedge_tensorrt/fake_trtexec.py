"""A program that takes the command line of a chosen trtexec and refuses any flag it did not have.

Run as ``python fake_trtexec.py '{"number": …, "log": …}' <trtexec's arguments>``. Nothing is
built: the "engine" is a list of the flags.
"""

import json
import shlex
import stat
import struct
import sys
import time
from pathlib import Path

NOISE = "[I] [TRT] Starting Calibration."
READ = (
    "[I] [TRT] Reading Calibration Cache for calibrator: EntropyCalibration2\n"
    "[I] [TRT] Generated calibration scales using calibration cache. "
)
STAMP = "[05/06/2025-10:11:{second}] "


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
    log = folder / "calls.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [call for line in lines if (call := json.loads(line)) != ["--help"]]


def builds(folder: Path) -> list[list[str]]:
    """The calls that built an engine."""
    return [call for call in calls(folder) if any(a.startswith("--onnx=") for a in call)]


def timings(folder: Path) -> list[list[str]]:
    """The calls that timed an engine."""
    return [call for call in calls(folder) if any(a.startswith("--avgRuns=") for a in call)]


def known_flags(number: int) -> set[str]:
    """Flags of a version, by NVIDIA's ``sampleOptions.cpp`` of each release."""
    version = decoded(number)
    flags = {"--onnx", "--saveEngine", "--loadEngine", "--warmUp", "--avgRuns", "--duration"}
    flags |= {"--iterations", "--percentile", "--loadInputs", "--exportOutput"}
    flags |= {"--timingCacheFile", "--useDLACore", "--allowGPUFallback"}
    if version < (11, 0):
        flags |= {"--int8", "--fp16", "--calib", "--useCudaGraph", "--useSpinWait"}
        flags |= {"--noDataTransfers"}
    else:
        flags |= {"--includeDataTransfers", "--noCudaGraph", "--noSpinWait"}
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
        kind = answered if "--loadInputs" in options else timed
        errors = kind(config, options) if "--loadEngine" in options else built(config, options)
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
    engine = {"flags": sorted(options), "onnx": Path(options["--onnx"]).name}
    Path(options["--saveEngine"]).write_text(json.dumps(engine))
    if "--exportLayerInfo" in options:
        Path(options["--exportLayerInfo"]).write_text(json.dumps(config["layers"]))
    return []


def answered(config: dict[str, object], options: dict[str, str]) -> list[str]:
    """Write the bundle's own expected answers to one batch of its samples, as the engine's."""
    version = decoded(int(str(config["number"])))
    if version >= (11, 0) and "--includeDataTransfers" not in options:
        return ["[E] no outputs without transfers"]
    engine = Path(options["--loadEngine"])
    precision = "int8" if wants_int8(json.loads(engine.read_text())) else "fp16"
    given = Path(options["--loadInputs"].rpartition(":")[2]).read_bytes()
    inputs = (engine.parent / "golden_input_0.bin").read_bytes()
    outputs = (engine.parent / f"golden_{precision}_output_0.bin").read_bytes()
    count = len(inputs) // len(given)
    size = len(outputs) // count
    batch = next(n for n in range(count) if inputs[n * len(given) :][: len(given)] == given)
    values = struct.unpack(f"<{size // 4}f", outputs[batch * size :][:size])
    if "scrambled" in config:
        values = values[::-1]
    entry = {"name": "output_0", "dimensions": "4x3", "values": values}
    Path(options["--exportOutput"]).write_text(json.dumps([entry]))
    return []


def wants_int8(engine: dict[str, object]) -> bool:
    """Whether the "engine" was built from Q/DQ or with a cache."""
    return engine["onnx"] == "model_qdq.onnx" or "--calib" in str(engine["flags"])


def timed(config: dict[str, object], options: dict[str, str]) -> list[str]:
    """Print times whose median is the next of the configured ones, in the layout of the version."""
    call = len(timings(Path(str(config["log"])).parent))
    median = config["medians"][call - 1]  # type: ignore[index]
    stamp = STAMP.format(second=10 + call)
    version = decoded(int(str(config["number"])))
    percentiles = "percentile(99%) = {p99} ms"
    if version >= (8, 5) and "--percentile" not in options:
        percentiles = "percentile(90%) = {p99} ms, percentile(95%) = {p99} ms, " + percentiles
    names = {"Latency": 2.25, "Enqueue Time": 0.25, "H2D Latency": 0.5, "GPU Compute Time": median}
    names |= {"D2H Latency": 0.5} | ({"End-to-End Host Latency": 4} if version < (8, 4) else {})
    lines = ["[I] Starting inference"]
    tail = " (end to end 4 ms, enqueue 0.25 ms)" if version < (8, 4) else " (enqueue 0.25 ms)"
    lines += ["[I] Average on 100 runs - GPU latency: 1 ms - Host latency: 2 ms" + tail]
    lines += ["[I] === Performance summary ===", "[I] Throughput: 500 qps"]
    for name, value in names.items():
        figures = f"min = 0 ms, max = 3 ms, mean = {value} ms, median = {value} ms, "
        lines.append(f"[I] {name}: {figures}{percentiles.format(p99=value)}")
    lines += ["[I] Total Host Walltime: 0.4 s", "[I] Total GPU Compute Time: 2.9 s"]
    lines += ["[W] * Throughput may be bound by Enqueue Time."]
    sys.stdout.write("".join(f"{stamp}{line}\n" for line in lines))
    sys.stdout.flush()
    if "timing" in config:  # a file that says to a fake tegrastats that the GPU is busy
        Path(str(config["timing"])).touch()
        time.sleep(float(str(config["seconds"])))
        Path(str(config["timing"])).unlink()
    return []


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
