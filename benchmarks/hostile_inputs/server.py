"""A copy of this process for every artefact: it may hang or die, and takes what it took with it."""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.hostile_inputs.opening import Outcome, kilobytes, opened

__all__ = ["LIMIT_S", "in_a_copy", "programs_peak"]

LIMIT_S = 20.0
_MOST = 2**20
_LOOKED_S = 0.02


def in_a_copy(
    folder: Path, kind: str, name: str, make: Callable[[], str], *, exported: bool
) -> Outcome:
    """Spoil and open an artefact in a copy of this process, which has torch already.

    Args:
        folder: A copy of an artefact.
        kind: Its format.
        name: What will be done to it.
        make: Spoils it, and says how.
        exported: Whether it is exported too.
    """
    said = make()
    name = f"{name}{said}"
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _answer(writable, folder, kind, name, exported)
    os.close(writable)
    return _outcome(child, readable, name)


def _answer(writable: int, folder: Path, kind: str, name: str, exported: bool) -> None:
    code = 1
    try:
        os.chdir(folder.parent)
        os.setpgid(0, 0)
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silent, stream)
        outcome = opened(folder, kind, name, exported=exported)
        os.write(writable, json.dumps(asdict(outcome)).encode()[:_MOST])
        code = 0
    finally:
        os._exit(code)


def _outcome(child: int, readable: int, name: str) -> Outcome:
    begin, data, hung, started = time.monotonic(), b"", False, 0
    while True:
        started = max(started, programs_peak(child))
        left = LIMIT_S - (time.monotonic() - begin)
        if left <= 0:
            hung = True
            break
        if not select.select([readable], [], [], min(left, _LOOKED_S))[0]:
            continue
        chunk = os.read(readable, _MOST)
        if not chunk:
            break
        data += chunk
    os.close(readable)
    if hung:
        os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.monotonic() - begin
    if hung:
        return Outcome(name=name, verdict="hung", seconds=seconds)
    try:
        plain = json.loads(data)
    except ValueError:
        return Outcome(name=name, verdict="died", text=f"exit code {status}", seconds=seconds)
    peak = plain["peak_bytes"] + started
    return Outcome(**{**plain, "events": tuple(plain["events"]), "peak_bytes": peak})


def programs_peak(process: int) -> int:
    """The most memory, in bytes, of the programs that a process and its children run by now.

    A copy of the process that runs none yet has its memory, and is left out.
    """
    with contextlib.suppress(OSError):
        own = Path(f"/proc/{process}/cmdline").read_bytes()
        listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
        return sum(_peak_of(int(child), own) for child in listed.split())
    return 0


def _peak_of(process: int, parents: bytes) -> int:
    with contextlib.suppress(OSError):
        if Path(f"/proc/{process}/cmdline").read_bytes() in {parents, b""}:
            return 0
        return 1024 * kilobytes("VmHWM", process) + programs_peak(process)
    return 0
