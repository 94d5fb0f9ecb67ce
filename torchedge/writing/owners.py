"""Which process made something, and whether that process is gone; all of it fits into a name."""

import contextlib
import hashlib
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import final

__all__ = ["OWNER", "Owner", "is_gone", "parsed_owner", "this_process"]

OWNER = r"[0-9a-f]{10}-\d+-\d+"
_PROC = Path("/proc")
_ENDED = ("Z", "X")  # a process that nobody has asked for its exit code yet, and a dead one
_MAY_ASK, _RUNS = 0x1000, 259  # of Windows: PROCESS_QUERY_LIMITED_INFORMATION, STILL_ACTIVE
_STATE, _START = 0, 19  # places in /proc/PID/stat behind the name


@final
@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that cannot be taken for another one.

    Args:
        machine: Digest of host, boot and process namespace: the same number is another process in
            a container, on another host, and after a restart.
        pid: Its number there.
        started: When it started, in ticks since the boot; 0 where the system does not say.
    """

    machine: str
    pid: int
    started: int

    def __str__(self) -> str:
        """As a part of a file's name."""
        return f"{self.machine}-{self.pid}-{self.started}"


def this_process() -> Owner:
    """Of the process that asks."""
    pid = os.getpid()
    return Owner(machine=_machine(), pid=pid, started=_stat(pid)[1])


def parsed_owner(text: str) -> Owner | None:
    """What ``str(owner)`` gave, or ``None``.

    Example:
        >>> parsed_owner("0123456789-17-4").pid, parsed_owner("17")
        (17, None)
    """
    if not re.fullmatch(OWNER, text):
        return None
    machine, pid, started = text.split("-")
    return Owner(machine=machine, pid=int(pid), started=int(started))


def is_gone(owner: Owner) -> bool:
    """Whether it was a process of this machine and has ended; of others nothing is known."""
    if owner.machine != _machine():
        return False
    if sys.platform == "win32":  # signal 0 is Ctrl-C there
        return not _is_alive_on_windows(owner.pid)
    try:
        os.kill(owner.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass  # another user's: it is alive, unless its number was given again
    state, started = _stat(owner.pid)
    return state in _ENDED or (started != owner.started and bool(state))


def _is_alive_on_windows(pid: int) -> bool:
    if sys.platform == "win32":  # so that a type checker looks at it there alone
        import ctypes

        kernel, code = ctypes.windll.kernel32, ctypes.c_ulong()
        handle = kernel.OpenProcess(_MAY_ASK, False, pid)
        if not handle:
            return False
        answered = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return not answered or code.value == _RUNS
    return True


def _machine() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append((_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str((_PROC / "self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]


def _stat(pid: int) -> tuple[str, int]:
    """State and start of a process; nothing where the system does not say."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    fields = text.rpartition(")")[2].split()
    return fields[_STATE], int(fields[_START])
