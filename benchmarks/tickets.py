"""What is left of accuracy when weights go, on the 5,000 MNIST images: mean of three seeds.

    pip install -e '.[recipes]'
    python -m benchmarks.tickets [SECTION ...]

``lottery``: tickets of LeNet-300-100 with 20 % fewer weights a round, beside their controls, and a
picture in ``runs/``. ``digits``: the digits network with a tenth of its weights, and with two of
every four. Two processes with a thread each.
"""

from pathlib import Path

import cyclopts

from benchmarks.sections import Sections, run_sections
from benchmarks.sparse.digits import digits
from benchmarks.sparse.lenet import lottery

SECTIONS: Sections = {"lottery": lottery, "digits": digits}


def main(*sections: str, out: Path = Path("runs/tickets.json"), threads: int = 1) -> None:
    """Run sections, print them, and write every figure as JSON.

    Args:
        sections: Which ones; all if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch in the parent, which only collects.
    """
    run_sections(SECTIONS, sections, out, threads=threads)


if __name__ == "__main__":
    cyclopts.run(main)
