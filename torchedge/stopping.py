"""Ending at Ctrl-C, a kill or a closed terminal: one line, the usual exit code, all cleaned up.

Loads nothing but what Python has loaded already, so that it can be first.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import final

__all__ = [
    "SAY_NOTHING",
    "Stopped",
    "end_at_once",
    "raise_if_stopped",
    "stop_in_one_line",
    "stopping_in_one_line",
]

SAY_NOTHING = "TORCHEDGE_STOPS_IN_SILENCE"  # set for a child, whose parent says it
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # by name, because Windows has no SIGHUP
_ERROR_STREAM = 2
_AGAIN_S = 0.01


@final
class Stopped(SystemExit):
    """A signal ends the process; the stack is unwound, so that half-written folders go.

    Not a ``KeyboardInterrupt``, which trainers and thread pools take for their own affair.
    """


@final
class _SayAndStop:
    """Handles signals; however many come, one line is said."""

    def __init__(self) -> None:
        self.number = 0  # of the first one
        self.is_over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise where the program is, or end it where nothing may be raised any more."""
        if not self.number:
            self.number = number
            _say(number)
        if self.is_over:
            os._exit(128 + self.number)
        raise Stopped(128 + self.number)


def _say(number: int) -> None:
    if SAY_NOTHING in os.environ:
        return
    what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    text = f"error: {what}; nothing half-written is left behind.\n"
    with contextlib.suppress(OSError):  # the terminal may be gone, and a stream may be in use
        os.write(_ERROR_STREAM, text.encode())


def stop_in_one_line() -> None:
    """From now on, the signals that end a process do it so; those that it ignores, it ignores."""
    _handle_signals()
    _say_nothing_after_a_signal()


def _handle_signals() -> None:
    handler = _SayAndStop()
    for number in _numbers():
        signal.signal(number, handler)


def raise_if_stopped() -> None:
    """Raise again what something has swallowed, or made another error of.

    Modules in C do, when a signal comes while they import others.

    Raises:
        Stopped: A signal has come.
    """
    handler = _handler()
    if handler is not None and handler.number:
        raise Stopped(128 + handler.number)


def _say_nothing_after_a_signal() -> None:
    """An error that ends the process is not told where a signal was its reason."""
    tell, tell_ignored = sys.excepthook, sys.unraisablehook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        handler = _handler()
        if handler is not None and handler.number:
            os._exit(128 + handler.number)
        tell(kind, error, traceback)

    def ignored(found: "sys.UnraisableHookArgs") -> None:
        if not isinstance(found.exc_value, Stopped):
            tell_ignored(found)
        elif hasattr(signal, "setitimer"):  # it came where Python raises nothing: once more
            signal.signal(signal.SIGALRM, _handler() or _SayAndStop())
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    sys.excepthook, sys.unraisablehook = hook, ignored


def _handler() -> _SayAndStop | None:
    found = (signal.getsignal(number) for number in _numbers())
    return next((handler for handler in found if isinstance(handler, _SayAndStop)), None)


def end_at_once() -> None:
    """From now on they end the process on the spot, for all is done and cleaned up.

    What Python still calls at the end of a process has no place for an exception.
    """
    handler = _handler()
    if handler is not None:
        handler.is_over = True


@contextlib.contextmanager
def stopping_in_one_line() -> Iterator[None]:
    """The same while a block runs; in a thread, to which no signals come, nothing changes."""
    before = {number: signal.getsignal(number) for number in _numbers()}
    try:
        _handle_signals()
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
