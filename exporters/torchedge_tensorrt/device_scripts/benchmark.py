#!/usr/bin/env python3
"""Times model.engine on this Jetson with trtexec and writes benchmark.json.

Needs nothing but the board's own Python (3.6 or newer) and trtexec. Build the engine first.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
TIMES = re.compile(r"\[I\] (GPU Compute Time|Latency|Enqueue Time): (min = .*)")
FIGURE = re.compile(r"(\w+)(?:\((\d+)%\))? = ([\d.]+) ms")
WARNINGS = ("may be bound by", "is unstable")


class BenchmarkError(Exception):
    """One line that says what is wrong and what to do."""


def find_trtexec(given):
    """Path of trtexec."""
    trtexec = given or shutil.which("trtexec") or TRTEXEC
    if not os.path.exists(trtexec):
        raise BenchmarkError("trtexec is not here; type: sudo apt install libnvinfer-bin")
    return trtexec


def trtexec_major(text):
    """Major version from a banner: v8502 is 8, v100300 is 10."""
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    if not found:
        raise BenchmarkError("trtexec --help shows no TensorRT version.")
    number = int(found.group(1))
    return number // 10000 if number >= 100000 else number // 1000


def timing_flags(major):
    """CUDA graph on, spin wait on, transfers included: said out loud, as defaults differ."""
    if major >= 11:
        return ["--includeDataTransfers"]
    return ["--useCudaGraph", "--useSpinWait"]


def parse_trtexec(text):
    """Figures of a finished trtexec run.

    Only a run that trtexec itself calls PASSED counts.
    """
    if "&&&& PASSED" not in text:
        errors = [line for line in text.split("\n") if "[E]" in line]
        raise BenchmarkError("trtexec failed: {}".format(errors[-1] if errors else "no PASSED line"))
    figures = {}
    for name, values in TIMES.findall(text):
        key = name.lower().replace(" ", "_")
        for statistic, percentile, value in FIGURE.findall(values):
            suffix = "p" + percentile if percentile else statistic
            figures["{}_{}_ms".format(key, suffix)] = float(value)
    throughput = re.search(r"Throughput: ([\d.]+) qps", text)
    if throughput:
        figures["throughput_per_s"] = float(throughput.group(1))
    if "gpu_compute_time_median_ms" not in figures:
        raise BenchmarkError("trtexec printed no 'GPU Compute Time' line.")
    warned = [line for line in text.split("\n") if any(warning in line for warning in WARNINGS)]
    figures["warnings"] = [line.split("[W]")[-1].strip(" *\r") for line in warned]
    return figures


def command_output(command):
    """Combined output of a command, or an empty string where it does not exist."""
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
        )
    except OSError:
        return ""
    return process.communicate()[0]


def read_text(path):
    """Contents of a small file, or an empty string."""
    try:
        with open(path) as stream:
            return stream.read().strip("\0\n ")
    except (IOError, OSError):
        return ""


def environment():
    """What a reader needs to compare two runs."""
    return {
        "device": read_text("/proc/device-tree/model") or "not known",
        "l4t": read_text("/etc/nv_tegra_release").split("\n")[0] or "not known",
        "power_mode": command_output(["nvpmodel", "-q"]).strip() or "not known",
    }


def median(values):
    """Middle value."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", default=os.path.join(HERE, "model.engine"))
    parser.add_argument("--duration-s", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--trtexec")
    parser.add_argument("--out", default=os.path.join(HERE, "benchmark.json"))
    return parser.parse_args(argv)


def main(argv=None):
    """Time, print, write."""
    options = arguments(argv)
    if not os.path.exists(options.engine):
        raise BenchmarkError("{} is not there; run python3 build_engine.py first.".format(options.engine))
    trtexec = find_trtexec(options.trtexec)
    major = trtexec_major(command_output([trtexec, "--help"]))
    command = [trtexec, "--loadEngine=" + options.engine, "--warmUp=2000", "--avgRuns=100"]
    command += ["--duration={}".format(options.duration_s)] + timing_flags(major)
    runs = [parse_trtexec(command_output(command)) for _ in range(options.repetitions)]
    result = {
        "environment": environment(),
        "command": command,
        "repetitions": runs,
        "gpu_compute_time_median_ms": median([run["gpu_compute_time_median_ms"] for run in runs]),
    }
    with open(options.out + ".partial", "w") as stream:
        json.dump(result, stream, indent=2)
    os.rename(options.out + ".partial", options.out)
    medians = ", ".join("{:.3f}".format(run["gpu_compute_time_median_ms"]) for run in runs)
    print("{}: GPU compute time, median of each run: {} ms".format(result["environment"]["device"], medians))
    for warning in sorted(set(sum((run["warnings"] for run in runs), []))):
        print("trtexec warns: " + warning)
    print("wrote " + options.out)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit("error: {}".format(error))
