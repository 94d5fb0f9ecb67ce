"""Starts a program that ends with the process that wanted it; needs nothing of torchedge.

``python launch_child.py PARENT PIPE COMMAND…``: Linux kills the program when its parent ends.
Elsewhere this process stays, reads a pipe that only the parent holds open, and kills the program's
process group, its own, when there is nobody at the other end.
"""

import os
import signal
import subprocess
import sys
import threading

__all__ = ["main"]

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_ORPHAN = 1


def main(parent: int, pipe: int, command: list[str]) -> None:
    """Become the program, or watch over it."""
    if sys.platform == "linux":
        _die_with_parent(parent)
        os.close(pipe)
        os.execvp(command[0], command)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    code = subprocess.call(command)
    sys.exit(code if code >= 0 else 128 - code)


def _die_with_parent(parent: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died before it could be asked for
        sys.exit(_ORPHAN)


def _watch(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
