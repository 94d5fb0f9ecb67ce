"""Quantisation beside the peers: accuracy, speed, calibration and training, in one process.

    pip install -e '.[bench]'
    python -m benchmarks.quantization [SECTION ...]

The sections are ``accuracy``, ``distilled``, ``speed``, ``calibration`` and ``training``; all of
them take about half an hour on two cores. A peer that is not installed is called *not run*.
"""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import cyclopts
import torch
from rich.console import Console

from benchmarks.quantized.accuracy import post_training, self_distilled
from benchmarks.quantized.calibration import calibration
from benchmarks.quantized.speed import speed
from benchmarks.quantized.training import training
from torchedge.errors import UsageError

SECTIONS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "accuracy": post_training,
    "distilled": self_distilled,
    "speed": speed,
    "calibration": calibration,
    "training": training,
}


def plain(value: object) -> Any:  # noqa: ANN401 - what JSON can hold
    """Dataclasses and mappings as plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return {k: plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def show(console: Console, section: str, found: Mapping[str, Any]) -> None:
    """Print each figure with its name."""
    console.rule(section)
    for name, figures in found.items():
        if all(not isinstance(value, Mapping) for value in figures.values()):
            shown = [f"{k} {v:.4g}" for k, v in figures.items()]
            console.print(f"{name:32s} {', '.join(shown)}")
        else:
            for contestant, timing in figures.items():
                console.print(
                    f"{name:20s} {contestant:32s} "
                    f"{timing['median_ms']:8.1f} ms  x{timing['ratio']:.2f}, "
                    f"fastest x{timing['fastest_ratio']:.2f}"
                )


def main(*sections: str, out: Path = Path("runs/quantization.json"), threads: int = 2) -> None:
    """Run sections, print ratios, and write every figure as JSON.

    Args:
        sections: Which ones; all if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        raise UsageError(f"there is no section {sorted(unknown)}; choose of {list(SECTIONS)}.")
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    console = Console(width=120, highlight=False)
    for section in sections or SECTIONS:
        results[section] = plain(SECTIONS[section]())
        show(console, section, results[section])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    cyclopts.run(main)
