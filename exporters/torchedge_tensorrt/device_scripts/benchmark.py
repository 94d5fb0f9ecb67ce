#!/usr/bin/env python3
"""Times the engines on this Jetson with trtexec, with power and temperature, and writes benchmark.json.

Needs nothing but the board's own Python (3.6 or newer) and trtexec. Build the engines first.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
WARNINGS = ("may be bound by", "is unstable")
SLOWER = 1.05  # a last repetition this much slower than the first is called throttled


class BenchmarkError(Exception):
    """One line that says what is wrong and what to do."""


# --- what trtexec prints --------------------------------------------------------------------------

SECTIONS = {
    "GPU Compute Time": "gpu_compute_time",
    "GPU Compute": "gpu_compute_time",
    "Latency": "latency",
    "Host Latency": "latency",
    "Enqueue Time": "enqueue_time",
    "H2D Latency": "h2d_latency",
    "D2H Latency": "d2h_latency",
    "End-to-End Host Latency": "end_to_end_latency",
}
LINE = re.compile(r"\[I\] ([A-Za-z0-9 -]+): (min = .*)")
FIGURE = re.compile(r"([a-z]+)(?:\((\d+(?:\.\d+)?)%\))? = (\d+(?:\.\d+)?(?:e[-+]?\d+)?) ms")
OLD_FIGURE = re.compile(r"\[I\] (min|max|mean|median|percentile): (\d+(?:\.\d+)?) ms(?: at (\d+)%)?")
WALLTIME = re.compile(r"\[I\] (?:Total Host Walltime|walltime): (\d+(?:\.\d+)?) s")
THROUGHPUT = re.compile(r"\[I\] [Tt]hroughput: (\d+(?:\.\d+)?) qps")
BANNER = re.compile(r"\[TensorRT v(\d{4,7})\]")


def trtexec_version(text):
    """(8, 5, 2) from a banner with v8502, (10, 3, 0) from v100300; None where there is none."""
    found = BANNER.search(text)
    if not found:
        return None
    number = int(found.group(1))
    unit = 10000 if number >= 100000 else 1000
    return (number // unit, number % unit // 100, number % 100)


def trtexec_figures(text):
    """Every figure in the output of any trtexec, also of a run that was cut short."""
    figures = {}
    section = None
    for line in text.split("\n"):
        new = LINE.search(line)
        if new and new.group(1) in SECTIONS:
            section = None
            for statistic, percentile, value in FIGURE.findall(new.group(2)):
                suffix = "p" + percentile if percentile else statistic
                figures["{}_{}_ms".format(SECTIONS[new.group(1)], suffix)] = float(value)
            continue
        heading = line.partition("[I] ")[2].strip()
        if heading in SECTIONS:  # the layout of TensorRT 7
            section = SECTIONS[heading]
        old = OLD_FIGURE.search(line)
        if old and section:
            suffix = "p" + (old.group(3) or "99") if old.group(1) == "percentile" else old.group(1)
            figures["{}_{}_ms".format(section, suffix)] = float(old.group(2))
    for pattern, key in ((THROUGHPUT, "throughput_per_s"), (WALLTIME, "walltime_s")):
        found = pattern.search(text)
        if found:
            figures[key] = float(found.group(1))
    return figures


def trtexec_errors(text):
    """The [E] lines."""
    return [line for line in text.split("\n") if "[E]" in line]


def parse_trtexec(text):
    """Figures of a finished trtexec run.

    Only a run that trtexec itself calls PASSED counts.
    """
    if "&&&& PASSED" not in text:
        errors = trtexec_errors(text)
        raise BenchmarkError("trtexec failed: {}".format(errors[-1] if errors else "no PASSED line"))
    figures = trtexec_figures(text)
    if "gpu_compute_time_median_ms" not in figures:
        raise BenchmarkError("trtexec printed no 'GPU Compute Time' line.")
    warned = [line for line in text.split("\n") if any(warning in line for warning in WARNINGS)]
    figures["warnings"] = [line.split("[W]")[-1].strip(" *\r") for line in warned]
    return figures


# --- what tegrastats prints -----------------------------------------------------------------------

POWER = re.compile(r"\b((?:VDD|VDDQ|VIN|POM|GPU|CPU|SOC|CV|VDDRQ|SYS5V|NC)(?:_[A-Z0-9]+)*) (\d{1,9})(?:mW)?/\d+(?:mW)?")
TEMPERATURE = re.compile(r"\b([A-Za-z0-9_.-]+)@(-?\d{1,4}(?:\.\d+)?)C\b")
GPU = re.compile(r"\bGR3D(?:2|_PCI)?_FREQ (?:(\d{1,3})%)?(?:@\[?(\d+))?")
RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
OFF_CELSIUS = -200


def parse_tegrastats(line):
    """Power of each rail (mW), temperatures, load and clock of the GPU, RAM; what is missing is left out.

    Reads lines of JetPack 4 (``VDD_IN 2800/2800``), 5 and 6 (``2800mW/2800mW``) and 7
    (``5139mW/5139mW/5139mW``). The first number is the present one.
    """
    found = {"power_mw": {}, "temperature_c": {}}
    for rail, milliwatts in POWER.findall(line):
        found["power_mw"][rail] = int(milliwatts)
    for name, celsius in TEMPERATURE.findall(line):
        if float(celsius) > OFF_CELSIUS:
            found["temperature_c"][name] = float(celsius)
    gpu, ram = GPU.search(line), RAM.search(line)
    if gpu and gpu.group(1):
        found["gpu_load_percent"] = int(gpu.group(1))
    if gpu and gpu.group(2):
        found["gpu_clock_mhz"] = int(gpu.group(2))
    if ram:
        found["ram_used_mb"], found["ram_total_mb"] = int(ram.group(1)), int(ram.group(2))
    return found


TOTALS = (
    ("VIN",),  # Thor
    ("VDD_IN",),  # TX2, Xavier NX, Orin Nano, Orin NX
    ("POM_5V_IN",),  # Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)


def total_power_mw(rails):
    """(power of the whole module, the rails that were added), or (None, []).

    VDDQ_VDD2_1V8AO of AGX Orin is fed by VIN_SYS_5V0 and must not be added to it.
    """
    for names in TOTALS:
        if all(name in rails for name in names):
            return sum(rails[name] for name in names), list(names)
    return None, []


def mean_power_mw(samples, begin_s, end_s):
    """Time-weighted mean (trapezoids) of (time, mW) between two moments; None with fewer than two."""
    inside = [(t, p) for t, p in samples if begin_s <= t <= end_s]
    if len(inside) < 2 or inside[-1][0] <= inside[0][0]:
        return None
    area = sum((a[1] + b[1]) / 2.0 * (b[0] - a[0]) for a, b in zip(inside, inside[1:]))
    return area / (inside[-1][0] - inside[0][0])


def energy_mj(power_mw, throughput_per_s):
    """Energy of one query in mJ; None where a figure is missing."""
    if power_mw is None or not throughput_per_s:
        return None
    return power_mw / throughput_per_s


def parse_nvpmodel(text):
    """(name, number) of the power mode from ``nvpmodel -q``; None for what is not there."""
    name = re.search(r"NV Power Mode:\s*(\S+)", text)
    number = re.search(r"^(\d{1,3})\s*$", text, re.MULTILINE)
    return (name.group(1) if name else None, int(number.group(1)) if number else None)


def largest_power_mode(configuration):
    """Number of the mode without limits in ``/etc/nvpmodel.conf``: MAXN_SUPER, else MAXN, else None."""
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([\w ]+?)\s*>", configuration)
    for wanted in ("MAXN_SUPER", "MAXN"):
        for number, name in modes:
            if name == wanted:
                return int(number)
    return None


# --- the board ------------------------------------------------------------------------------------


class Tegrastats(object):
    """tegrastats in the background; each line is stamped with this process's own clock."""

    def __init__(self, command):
        self.samples = []
        self.process = None
        try:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
            )
        except OSError:
            return
        self.thread = threading.Thread(target=self.read)
        self.thread.daemon = True
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.samples.append((time.monotonic(), parse_tegrastats(line)))

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.thread.join(5)
            self.process.stdout.close()

    def powers(self):
        found = [(t, total_power_mw(sample["power_mw"])[0]) for t, sample in self.samples]
        return [(t, power) for t, power in found if power is not None]

    def rails(self):
        for _, sample in self.samples:
            names = total_power_mw(sample["power_mw"])[1]
            if names:
                return names
        return []

    def hottest(self, begin_s, end_s):
        inside = [s["temperature_c"] for t, s in self.samples if begin_s <= t <= end_s]
        names = sorted(set(name for sample in inside for name in sample))
        return {name: max(sample[name] for sample in inside if name in sample) for name in names}


def find_trtexec(given):
    """Path of trtexec."""
    trtexec = given or shutil.which("trtexec") or TRTEXEC
    if not os.path.exists(trtexec):
        raise BenchmarkError("trtexec is not here; type: sudo apt install libnvinfer-bin")
    return trtexec


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


def shown(text):
    """Text of a manifest or a log for the terminal: nothing that moves its cursor, nothing it cannot encode."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
    encoding = sys.stdout.encoding or "ascii"
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def environment():
    """What a reader needs to compare two runs."""
    name, number = parse_nvpmodel(command_output(["nvpmodel", "-q"]))
    return {
        "device": read_text("/proc/device-tree/model") or "not known",
        "l4t": read_text("/etc/nv_tegra_release").split("\n")[0] or "not known",
        "power_mode_name": name or "not known",
        "power_mode": number,
        "clocks": command_output(["jetson_clocks", "--show"]).strip() or "not known",
    }


def set_max_clocks():
    """Fastest power mode and fixed clocks; needs sudo without a password."""
    number = largest_power_mode(read_text("/etc/nvpmodel.conf"))
    commands = [] if number is None else [["sudo", "-n", "nvpmodel", "-m", str(number)]]
    for command in commands + [["sudo", "-n", "jetson_clocks"]]:
        try:
            code = subprocess.call(command)
        except OSError:
            code = 127
        if code != 0:
            raise BenchmarkError(
                "'{}' ended with {}; type it yourself, with sudo, or leave --max-clocks out.".format(
                    " ".join(command), code
                )
            )


def overcurrent_events():
    """How often the board has limited its clocks for want of power, where it counts that."""
    texts = [read_text(path) for path in glob.glob("/sys/class/hwmon/hwmon*/oc*_event_cnt")]
    counts = [int(text) for text in texts if text.isdigit()]
    return sum(counts) if counts else None


# --- the runs -------------------------------------------------------------------------------------


def timing_flags(version, transfers=True, cuda_graph=True):
    """CUDA graph, spin wait and transfers, said out loud: TensorRT 11 has turned all defaults round."""
    if version >= (11,):
        flags = [] if cuda_graph else ["--noCudaGraph"]
        return flags + (["--includeDataTransfers"] if transfers else [])
    flags = (["--useCudaGraph"] if cuda_graph else []) + ["--useSpinWait"]
    return flags + ([] if transfers else ["--noDataTransfers"])


def run_once(command):
    """(output, moment of the line 'Starting inference' or of the start, moment of the end)."""
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
        )
    except OSError as error:
        raise BenchmarkError("trtexec cannot be started: {}".format(error))
    lines = []
    for line in process.stdout:
        if "Starting inference" in line:
            begin = time.monotonic()
        lines.append(line)
    process.stdout.close()
    process.wait()
    return "".join(lines), begin, time.monotonic()


def measure(command, options, stats):
    """Figures of one repetition, with mean power over the part that was timed."""
    output, begin, end = run_once(command)
    figures = parse_trtexec(output)
    begin += options.warm_up_ms / 1000.0
    end = min(end, begin + figures.get("walltime_s", end - begin))
    figures["power_mw"] = mean_power_mw(stats.powers(), begin, end)
    figures["temperature_c"] = stats.hottest(begin, end)
    return figures


def measure_engine(entry, command, options, stats, idle_mw):
    """All repetitions of one engine, and their summary."""
    events = overcurrent_events()
    runs = [measure(command, options, stats) for _ in range(options.repetitions)]
    happened = overcurrent_events()
    result = dict(entry)
    result.update(summary(runs, idle_mw, options.batch))
    result["overcurrent_events"] = None if events is None else happened - events
    result["throttled"] = bool(result["overcurrent_events"]) or is_throttled(runs)
    result["command"] = command
    result["repetitions"] = runs
    return result


def summary(runs, idle_mw, batch):
    """Medians over repetitions, their spread, and the energy of one inference."""
    result = {}
    for key in ("gpu_compute_time_median_ms", "gpu_compute_time_p99_ms", "throughput_per_s", "power_mw"):
        values = [run[key] for run in runs if run.get(key) is not None]
        result[key] = median(values) if values else None
    times = [run["gpu_compute_time_median_ms"] for run in runs]
    result["spread_of_medians"] = max(times) / min(times) - 1 if min(times) else None
    result["images_per_s"] = result["throughput_per_s"] and result["throughput_per_s"] * batch
    power, images = result["power_mw"], result["images_per_s"]
    result["energy_gross_mj"] = energy_mj(power, images)
    above = None if power is None or idle_mw is None else power - idle_mw
    result["energy_above_idle_mj"] = energy_mj(above, images)
    return result


def is_throttled(runs):
    """Whether the last repetition is clearly slower than the first."""
    times = [run["gpu_compute_time_median_ms"] for run in runs]
    return times[-1] > SLOWER * times[0]


def median(values):
    """Middle value; the mean of the middle two of an even number."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0


def engines(options):
    """What build_engine.py has built, or the one engine that was asked for."""
    listed = []
    record = read_text(os.path.join(HERE, "engines.json"))
    if record:
        listed = json.loads(record)["engines"]
    if options.engine:
        name = os.path.basename(options.engine)
        entry = [e for e in listed if e["file"] == name and os.path.join(HERE, name) == os.path.abspath(options.engine)]
        listed = entry or [{"file": name, "precision": "not known"}]
        paths = [options.engine]
    else:
        listed = listed or [{"file": "model.engine", "precision": "not known"}]
        paths = [os.path.join(HERE, entry["file"]) for entry in listed]
    for path in paths:
        if not os.path.exists(path):
            raise BenchmarkError("{} is not there; run python3 build_engine.py first.".format(path))
    return list(zip(listed, paths))


def batch_size():
    """First axis of the first input, by the manifest; 1 where there is none."""
    try:
        return int(json.loads(read_text(os.path.join(HERE, "manifest.json")))["inputs"][0]["shape"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        return 1


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", help="time this one alone; default all that build_engine.py has built")
    parser.add_argument("--duration-s", type=int, default=20)
    parser.add_argument("--warm-up-ms", type=int, default=2000)
    parser.add_argument("--idle-s", type=float, default=5.0, help="how long idle power is measured before")
    parser.add_argument("--repetitions", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--no-transfers", action="store_true", help="leave the copies to and from the GPU out")
    parser.add_argument("--no-cuda-graph", action="store_true")
    parser.add_argument("--max-clocks", action="store_true", help="sudo nvpmodel and jetson_clocks first")
    parser.add_argument("--trtexec")
    parser.add_argument("--tegrastats", default="tegrastats")
    parser.add_argument("--out", default=os.path.join(HERE, "benchmark.json"))
    return parser.parse_args(argv)


def main(argv=None):
    """Time, print, write."""
    options = arguments(argv)
    found = engines(options)
    trtexec = find_trtexec(options.trtexec)
    version = trtexec_version(command_output([trtexec, "--help"]))
    if version is None:
        raise BenchmarkError("trtexec --help shows no TensorRT version.")
    options.batch = batch_size()
    if options.max_clocks:
        set_max_clocks()
    flags = timing_flags(version, not options.no_transfers, not options.no_cuda_graph)
    command = ["--warmUp={}".format(options.warm_up_ms), "--avgRuns=100", "--iterations=100", "--percentile=99"]
    command += ["--duration={}".format(options.duration_s)] + flags
    stats = Tegrastats([options.tegrastats, "--interval", "100"])
    try:
        begin = time.monotonic()
        if stats.process is not None:
            time.sleep(options.idle_s)
        idle_mw = mean_power_mw(stats.powers(), begin, time.monotonic())
        results = [
            measure_engine(entry, [trtexec, "--loadEngine=" + path] + command, options, stats, idle_mw)
            for entry, path in found
        ]
    finally:
        stats.stop()
    settings = {
        "tensorrt": ".".join(str(part) for part in version),
        "cuda_graph": not options.no_cuda_graph,
        "transfers": not options.no_transfers,
        "spin_wait": True,
        "warm_up_ms": options.warm_up_ms,
        "duration_s": options.duration_s,
        "batch": options.batch,
        "max_clocks": options.max_clocks,
        "power_rails": stats.rails(),
        "idle_power_mw": idle_mw,
    }
    report = {"environment": environment(), "settings": settings, "engines": results}
    write(options.out, report)
    print_table(report)
    print("wrote " + options.out)


def write(path, report):
    """Write aside, then rename."""
    with open(path + ".partial", "w") as stream:
        json.dump(report, stream, indent=2)
    os.rename(path + ".partial", path)


def print_table(report):
    """A line for each engine, and what a reader should know."""
    place, settings = report["environment"], report["settings"]
    where = place["device"], place["power_mode_name"], settings["tensorrt"]
    print(shown("{}, power mode {}, TensorRT {}".format(*where)))
    print(
        "batch {}, CUDA graph {}, transfers {}, {} ms warm-up".format(
            settings["batch"],
            "on" if settings["cuda_graph"] else "off",
            "included" if settings["transfers"] else "left out",
            settings["warm_up_ms"],
        )
    )
    row = "{:<20} {:>12} {:>12} {:>14} {:>16} {:>18}"
    print(row.format("engine", "median ms", "p99 ms", "images/s", "mJ/image gross", "mJ/image, no idle"))
    for engine in report["engines"]:
        keys = ("gpu_compute_time_median_ms", "gpu_compute_time_p99_ms", "images_per_s")
        keys += ("energy_gross_mj", "energy_above_idle_mj")
        print(row.format(shown(engine["file"]), *[figure(engine[key]) for key in keys]))
        if engine["throttled"]:
            print("  throttled: the clocks fell while it was timed; cool the board, or use a lower power mode")
        for warning in sorted(set(sum((run["warnings"] for run in engine["repetitions"]), []))):
            print("  trtexec warns: " + shown(warning))
    if not settings["power_rails"]:
        print("power: not measured (tegrastats is not here or shows no known rail)")


def figure(value):
    """Three decimals, or 'not measured'."""
    return "not measured" if value is None else "{:.3f}".format(value)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(shown("error: {}".format(error)))
