"""Entropy calibration with 2,048 bins: what it costs in time and memory."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.peers import networks, onnx_runtime
from benchmarks.peers.packages import attempted

__all__ = ["calibration"]

_ROOT = Path(__file__).parents[2]


def calibration(*, counts: tuple[int, ...] = (64, 256)) -> dict[str, dict[str, float]]:
    """MobileNetV2 at 96 x 96, one image at a time; each calibrator in a process of its own."""
    rows: dict[str, dict[str, float]] = {}
    for count in counts:
        rows[f"torchedge, {count} images"] = _ours(count)
        theirs = attempted("ONNX Runtime's calibrator", lambda count=count: _theirs(count))
        if theirs is not None:
            rows[f"ONNX Runtime, {count} images"] = theirs
            ours = rows[f"torchedge, {count} images"]
            ours["share_of_their_time"] = ours["seconds"] / theirs["seconds"]
    return rows


def _ours(count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.quantized.entropy_ours", str(count)]
    done = subprocess.run(
        command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _theirs(count: int) -> dict[str, float]:
    images = torch.randn(count, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = onnx_runtime.entropy_calibration(networks.mobilenet_v2_random(), images, bins=2048)
    return {"seconds": found.seconds, "growth_mib": found.peak_growth_mib}
