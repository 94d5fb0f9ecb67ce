"""Opening an artefact by the product's own way, watched from inside the process that does it."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch.utils.data import TensorDataset

import torchedge
from benchmarks.hostile_inputs.sources import images, network
from torchedge import exporting
from torchedge.distillation.cache import TeacherCache
from torchedge.errors import TorchedgeError
from torchedge.exporting.artifact import Artifact
from torchedge.exporting.plugins import known_runner
from torchedge.exporting.stages import verified_stages
from torchedge.pruning.tickets import Ticket

__all__ = ["Outcome", "kilobytes", "opened", "tried"]

_RAN = frozenset({"os.system", "os.exec", "os.posix_spawn", "os.spawn", "pickle.find_class"})
_NEXT = {"torch": "onnx-cpu", "tflite": "coral-edge-tpu", "onnx": "jetson"}


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one artefact.

    Args:
        name: What was done to it.
        verdict: ``accepted``, ``refused``, ``raw`` (another exception), ``hung`` or ``died``.
        text: What was said.
        seconds: How long it took.
        peak_bytes: What the process took more than before, and the programs that it started.
        file_bytes: Of all its files.
        events: What was run or opened that must not be.
    """

    name: str
    verdict: str
    text: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    file_bytes: int = 0
    events: tuple[str, ...] = ()


def opened(folder: Path, kind: str, name: str, *, exported: bool) -> Outcome:
    """Open an artefact as a user would.

    Args:
        folder: The artefact.
        kind: Its format.
        name: What was done to it.
        exported: Whether it is exported as well, where a target reads it.
    """
    before, begin = kilobytes("VmRSS"), time.monotonic()
    with _watched(folder) as events:
        verdict, text = tried(folder, kind, exported=exported)
    return Outcome(
        name=name,
        verdict=verdict,
        text=text,
        seconds=time.monotonic() - begin,
        peak_bytes=1024 * max(0, kilobytes("VmHWM") - before),
        file_bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        events=tuple(events),
    )


def tried(folder: Path, kind: str, *, exported: bool = False) -> tuple[str, str]:
    """The verdict and what was said, without a watch.

    Args:
        folder: The artefact.
        kind: Its format.
        exported: As of :func:`opened`.
    """
    try:
        _open(folder, kind, exported=exported)
    except TorchedgeError as error:
        text = str(error)
        plain = len(text.splitlines()) == 1 and "\x1b" not in text
        return ("refused" if plain else "raw"), text
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    return "accepted", ""


def _open(folder: Path, kind: str, *, exported: bool) -> None:
    if kind == "teacher-cache":
        cache = TeacherCache.open(folder, teacher=network(), data=TensorDataset(images()))
        cache.taps((images()[:2],), torch.tensor([0, 1]))
    elif kind == "ticket":
        Ticket.open(folder).network(network())
    else:
        _open_network(exporting.load_artifact(folder), folder, exported=exported)


def _open_network(artifact: Artifact, folder: Path, *, exported: bool) -> None:
    gate = exporting.Gate(forced=True)
    verified_stages(artifact, (), gate)
    runner = known_runner(artifact.format)
    if runner is not None and hasattr(runner, "census"):
        runner.census(artifact)
    if runner is not None and hasattr(runner, "fit"):
        runner.fit(artifact)
    place = _NEXT.get(str(artifact.format))
    if exported and place is not None:
        out = folder.with_name(f"{folder.name}-out")
        torchedge.export(artifact, exporting.target(place), out, gate=gate)


@contextmanager
def _watched(folder: Path) -> Iterator[list[str]]:
    """What is run, and what is opened outside the folder, Python and the temporary folder."""
    events: list[str] = []
    on = [True]
    usual = tuple(map(str, _usual_places()))
    forbidden = str(folder.parent / "outside")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not on[0]:
            return
        if event in _RAN:
            events.append(f"{event} {arguments!r}"[:200])
        elif event == "subprocess.Popen" and not _is_own(arguments[1]):
            events.append(f"{event} {arguments[1]!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - no link is followed
            if path.startswith(forbidden) or not path.startswith(usual):
                events.append(f"open {path}")

    sys.addaudithook(hook)  # cannot be taken away: this process ends after one artefact
    try:
        yield events
    finally:
        on[0] = False


def _usual_places() -> Iterator[str]:
    root = Path(__file__).parents[2]
    yield from map(str, (root, sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/dev/", "/usr/"))
    yield from {os.path.realpath(path) for path in sys.path if path}
    yield from ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/os-release")
    yield tempfile.gettempdir()  # where torch and ONNX Runtime look whether they may write


def _is_own(arguments: Any) -> bool:
    words = [str(word) for word in arguments] if isinstance(arguments, list | tuple) else []
    return any(word.endswith(("_child.py", "/ldconfig")) for word in words) or words[:1] == [
        "lscpu"
    ]


def kilobytes(name: str, process: int | str = "self") -> int:
    """What Linux counts of a process under this name.

    Args:
        name: Of a line in its status, ``VmHWM`` for the most memory that it has held.
        process: Its number.
    """
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
