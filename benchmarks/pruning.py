"""Channels removed: on which network it works, how much faster it gets, and what accuracy is left.

    pip install -e '.[bench]'
    python -m benchmarks.pruning coverage [NETWORK ...]
    python -m benchmarks.pruning speed [NETWORK ...]
    python -m benchmarks.pruning digits

Torch-Pruning stands beside; where it is not installed, nothing of this runs.
"""

from pathlib import Path

import cyclopts

from benchmarks.pruned.coverage import coverage as covered
from benchmarks.pruned.digits import digits as read_digits
from benchmarks.pruned.speed import speed as timed
from benchmarks.sections import Sections, run_sections

app = cyclopts.App(help=__doc__)
_OUT = Path("runs/pruning.json")


@app.command
def coverage(*names: str, out: Path = _OUT, threads: int = 1) -> None:
    """Remove half of the multiply-accumulates of networks, train a step, export, and compare.

    Args:
        names: Networks; all of them if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch.
    """
    _run({"coverage": lambda: covered(names)}, out, threads)


@app.command
def speed(*names: str, out: Path = _OUT, threads: int = 1) -> None:
    """Time networks with half of their multiply-accumulates in ONNX Runtime, beside Torch-Pruning.

    Args:
        names: Networks; nine of torchvision and timm if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch and for ONNX Runtime.
    """
    _run({"speed": lambda: timed(names, threads)}, out, threads)


@app.command
def digits(*, out: Path = _OUT, threads: int = 1) -> None:
    """Prune the digits network to a quarter of its multiply-accumulates and train it, three times.

    Args:
        out: JSON file; sections that were not run keep what it held.
        threads: For torch.
    """
    _run({"digits": read_digits}, out, threads)


def _run(sections: Sections, out: Path, threads: int) -> None:
    run_sections(sections, tuple(sections), out, threads=threads)


if __name__ == "__main__":
    app()
