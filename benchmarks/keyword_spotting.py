"""The keyword spotter as a user gets it, from spoken words to the Arduino's project, in figures.

    python -m benchmarks.keyword_spotting                 # trains: minutes
    python -m benchmarks.keyword_spotting --done FOLDER   # what an export wrote before

The words are spoken anew and nothing is taken from an earlier run. Each line has what was measured,
what is wanted and whether it is met; the command ends with 1 if one is not. Also written to
runs/keyword_spotting.json.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import cyclopts
import numpy as np

from torchedge.bench.session import Array
from torchedge.exporting import Artifact, load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, Samples, load_samples
from torchedge_tflite.census import forbidden_operators
from torchedge_tflite.flatbuffer import read_model
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.simulator import Simulator
from torchedge_tflite.step import MODEL_FILE
from torchedge_tflite_micro.runtime import Interpreter, smallest_arena
from torchedge_tflite_micro.session import input_ports

_ROOT = Path(__file__).resolve().parents[1]
_TARGET = "arduino-nano-33-ble"
_LIMIT_S, _LEAST_ACCURACY, _MOST_LOST, _MOST_BYTES = 600.0, 0.95, 0.005, 50_000


@final
@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that is to be shown.

    Args:
        what: In words.
        measured: In words.
        wanted: In words.
        met: Whether it is so.
    """

    what: str
    measured: str
    wanted: str
    met: bool


def exported(folder: Path) -> Line:
    """Run the one command in an empty folder, and measure its time."""
    command = [sys.executable, str(_ROOT / "scripts/export.py"), "--recipe", "keyword-spotting"]
    load, begin, cpu = os.getloadavg()[0], time.perf_counter(), _children_s()
    with tempfile.TemporaryDirectory() as empty:
        words = [*command, "--target", _TARGET, "--out", str(folder), "--overwrite"]
        subprocess.run(words, check=True, cwd=empty, env={**os.environ, "PYTHONPATH": str(_ROOT)})
    wall_s, cpu_s = time.perf_counter() - begin, _children_s() - cpu
    return Line(
        what="default run, data included",
        measured=f"{wall_s:.0f} s, {cpu_s:.0f} s of CPU, load {load:.1f} when it began",
        wanted=f"<= {_LIMIT_S:.0f} s on two cores",
        met=wall_s <= _LIMIT_S,
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reported(report: dict[str, Any]) -> list[Line]:
    """What the report of the export says."""
    rows = {stage["name"]: stage["accuracy"] for stage in report["stages"]}
    names = list(rows)
    exact = rows[names[0]]
    lines = [
        Line(
            what=f"accuracy, {name}, unseen voices at 10 dB SNR",
            measured=f"{value:.2%}",
            wanted=f">= {_LEAST_ACCURACY if name == names[0] else exact - _MOST_LOST:.2%}",
            met=value >= (_LEAST_ACCURACY if name == names[0] else exact - _MOST_LOST - 1e-9),
        )
        for name, value in rows.items()
        if value is not None
    ]
    for memory in report["fit"]["memories"]:
        used = sum(part["bytes"] for part in memory["parts"])
        parts = ", ".join(f"{p['name']} {p['bytes']:,} {p['evidence']}" for p in memory["parts"])
        lines.append(
            Line(
                what=memory["kind"],
                measured=f"{used:,} bytes: {parts}",
                wanted=f"<= {memory['limit_bytes']:,}",
                met=used <= memory["limit_bytes"],
            )
        )
    return lines


def compared(artifact: Artifact) -> list[Line]:
    """What the file itself shows, in both runtimes, on every sample."""
    path = artifact.file(MODEL_FILE)
    flat, samples = read_model(path), load_samples(artifact.file(SAMPLES_FILE))
    wrong = forbidden_operators(flat)
    device = Interpreter(path.read_bytes(), arena_bytes=smallest_arena(path), outputs=1)
    simulator, (port,) = Simulator(flat), input_ports(flat, artifact.inputs)
    stored = [port.stored(x) for (x,) in samples.batches(1)]
    differs = sum(int(np.count_nonzero(device(x)[0] != simulator(x)[0])) for x in stored)
    steps = litert_steps(artifact, samples)
    return [
        Line(
            what="model.tflite",
            measured=f"{path.stat().st_size:,} bytes",
            wanted=f"<= {_MOST_BYTES:,}",
            met=path.stat().st_size <= _MOST_BYTES,
        ),
        Line(
            what="operators that have no place in it",
            measured=", ".join(wrong) or f"none of {len(flat.operators)}",
            wanted="none",
            met=not wrong,
        ),
        Line(
            what="simulator and tflite-micro differ",
            measured=f"in {differs} of {steps.size:,} outputs",
            wanted="in none",
            met=differs == 0,
        ),
        Line(
            what="LiteRT within 1 LSB of PyTorch on integers",
            measured=f"{np.mean(steps < 1.01):.2%} of {steps.size:,} outputs",
            wanted=">= 99 %",
            met=bool(np.mean(steps < 1.01) >= 0.99),
        ),
    ]


def litert_steps(artifact: Artifact, samples: Samples) -> Array:
    """How many steps of the output's scale each answer of LiteRT is from PyTorch's."""
    with TFLiteRunner().open(artifact) as session:
        answers = np.concatenate([session(*inputs)[0] for inputs in samples.batches(1)])
    return np.abs(answers - samples.expected[0]) / (artifact.outputs[0].scale or 1.0)


def main(
    *,
    done: Path | None = None,
    folder: Path = Path("runs/keyword-spotting-arduino"),
    out: Path = Path("runs/keyword_spotting.json"),
) -> int:
    """Print a line for each thing that is to be shown.

    Args:
        done: What an export wrote; left out, one is made.
        folder: Where that goes.
        out: JSON file with the same lines.
    """
    lines = [] if done else [exported(folder.resolve())]
    folder = done or folder
    lines += reported(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    lines += compared(load_artifact(folder / "tflite-micro"))
    for line in lines:
        word = "met" if line.met else "NOT MET"
        print(f"{line.what}: {line.measured} (wanted {line.wanted}: {word})")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(line) for line in lines], indent=2), encoding="utf-8")
    return int(not all(line.met for line in lines))


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
