"""What a teacher is worth on the 5,000 MNIST images, and what it costs.

    pip install -e '.[recipes]'
    python -m benchmarks.distillation [SECTION ...]

``few_labels`` and ``all_labels``: a student with a 22nd of its teacher's parameters, alone and
taught, mean and standard deviation over seeds. ``generations``: born-again networks and their
ensemble. ``cost``: a training step with a teacher, live and cached. ``few_labels`` takes about nine
minutes on two cores, ``generations`` four, ``cost`` one.
"""

from pathlib import Path

import cyclopts

from benchmarks.distilled.cost import cost
from benchmarks.distilled.generations import generations
from benchmarks.distilled.students import all_labels, few_labels
from benchmarks.sections import Sections, run_sections

SECTIONS: Sections = {
    "few_labels": few_labels,
    "all_labels": all_labels,
    "generations": generations,
    "cost": cost,
}


def main(*sections: str, out: Path = Path("runs/distillation.json"), threads: int = 2) -> None:
    """Run sections, print them, and write every figure as JSON.

    Args:
        sections: Which ones; all if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch, where one network is trained; seeds have a process and a thread each.
    """
    run_sections(SECTIONS, sections, out, threads=threads)


if __name__ == "__main__":
    cyclopts.run(main)
