"""How much memory some work needs at its peak; meant for a process that does nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torchedge.errors import NotRunError

__all__ = ["peak_growth_mib"]

Result = TypeVar("Result")
PROCESS = Path("/proc/self")


def _status_mib(field: str) -> float:
    found = re.search(
        rf"^{field}:\s+(\d+) kB", (PROCESS / "status").read_text(encoding="utf-8"), re.MULTILINE
    )
    if found is None:
        raise NotRunError(f"the kernel does not report {field}; measure memory on plain Linux.")
    return int(found[1]) / 1024


def peak_growth_mib(work: Callable[[], Result]) -> tuple[Result, float]:
    """What ``work`` gives, and its peak of resident memory beyond what was there before.

    The kernel's own mark is used: ``resource.getrusage`` starts at the size of the parent process.

    Raises:
        NotRunError: This is no Linux, or it does not report its peak.
    """
    if not (PROCESS / "clear_refs").exists():
        raise NotRunError("peak memory is read from /proc/self; measure it on Linux.")
    (PROCESS / "clear_refs").write_text("5", encoding="utf-8")  # the peak starts over
    before = _status_mib("VmRSS")
    result = work()
    return result, _status_mib("VmHWM") - before
