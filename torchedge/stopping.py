"""Ending at Ctrl-C, a kill or a closed terminal: one line, the usual exit code, all cleaned up.

Loads nothing but what Python has loaded already, so that it can be first.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import final

__all__ = [
    "SAY_NOTHING",
    "Stopped",
    "end_at_once",
    "stop_in_one_line",
    "stopping_in_one_line",
]

SAY_NOTHING = "TORCHEDGE_STOPS_IN_SILENCE"  # set for a child, whose parent says it
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # by name, because Windows has no SIGHUP
_ERROR_STREAM = 2


@final
class Stopped(SystemExit):
    """A signal ends the process; the stack is unwound, so that half-written folders go.

    Not a ``KeyboardInterrupt``, which trainers and thread pools take for their own affair.
    """


@final
class _SayAndStop:
    """Handles signals; however many come, one line is said."""

    def __init__(self) -> None:
        self._has_said = SAY_NOTHING in os.environ

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._has_said:
            self._has_said = True
            _say(number)
        raise Stopped(128 + number)


def _say(number: int) -> None:
    what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    text = f"error: {what}; nothing half-written is left behind.\n"
    with contextlib.suppress(OSError):  # the terminal may be gone, and a stream may be in use
        os.write(_ERROR_STREAM, text.encode())


def stop_in_one_line() -> None:
    """From now on, the signals that end a process do it so; those that it ignores, it ignores."""
    handler = _SayAndStop()
    for number in _numbers():
        signal.signal(number, handler)


def end_at_once() -> None:
    """From now on they end the process on the spot, for all is done and cleaned up.

    What Python still calls at the end of a process has no place for an exception.
    """
    for number in _numbers():
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    if SAY_NOTHING not in os.environ:
        _say(number)
    os._exit(128 + number)


@contextlib.contextmanager
def stopping_in_one_line() -> Iterator[None]:
    """The same while a block runs; in a thread, to which no signals come, nothing changes."""
    before = {number: signal.getsignal(number) for number in _numbers()}
    try:
        stop_in_one_line()
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers() -> list[signal.Signals]:
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    return [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]
