"""Warnings and log records, in which text from files and paths stays text on a terminal."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torchedge.text import for_terminal

__all__ = ["harmless_messages", "warn"]


def warn(text: str, *, stacklevel: int = 1) -> None:
    """Warn of something in one line that no terminal obeys.

    Args:
        text: Whatever is in it.
        stacklevel: How far above the caller of this function the line is that is shown.
    """
    warnings.warn(for_terminal(text), stacklevel=stacklevel + 2)


@contextmanager
def harmless_messages() -> Iterator[None]:
    r"""What other packages warn of and log is escaped too, and a warning is one line of its own.

    For the command line: it changes how Python shows warnings and makes log records, and puts that
    back.

    Example:
        >>> with harmless_messages():
        ...     warnings.formatwarning("a\x1b[31m", UserWarning, "x.py", 1)
        'warning: a\\x1b[31m\n'
    """
    shown, made = warnings.formatwarning, logging.getLogRecordFactory()

    def record(*args: object, **kwargs: object) -> logging.LogRecord:
        found = made(*args, **kwargs)
        lines = (for_terminal(line) for line in found.getMessage().split("\n"))
        found.msg, found.args = "\n".join(lines), ()
        return found

    warnings.formatwarning = _one_line
    logging.setLogRecordFactory(record)
    try:
        yield
    finally:
        warnings.formatwarning = shown
        logging.setLogRecordFactory(made)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    kind = "" if category is UserWarning else f" ({category.__name__})"
    return f"warning: {for_terminal(message)}{kind}\n"
