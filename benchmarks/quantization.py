"""Quantisation beside the peers: accuracy, speed, calibration and training, in one process.

    pip install -e '.[bench]'
    python -m benchmarks.quantization [SECTION ...]

The sections are ``accuracy``, ``distilled``, ``speed``, ``calibration``, ``training`` and
``few_bits``; all of them take about an hour on two cores. A peer that is not installed is called
*not run*.
"""

from pathlib import Path

import cyclopts

from benchmarks.quantized.accuracy import post_training, self_distilled
from benchmarks.quantized.calibration import calibration
from benchmarks.quantized.few_bits import few_bits
from benchmarks.quantized.speed import speed
from benchmarks.quantized.training import training
from benchmarks.sections import Sections, run_sections

SECTIONS: Sections = {
    "accuracy": post_training,
    "distilled": self_distilled,
    "speed": speed,
    "calibration": calibration,
    "training": training,
    "few_bits": few_bits,
}


def main(*sections: str, out: Path = Path("runs/quantization.json"), threads: int = 2) -> None:
    """Run sections, print ratios, and write every figure as JSON.

    Args:
        sections: Which ones; all if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch.
    """
    run_sections(SECTIONS, sections, out, threads=threads)


if __name__ == "__main__":
    cyclopts.run(main)
