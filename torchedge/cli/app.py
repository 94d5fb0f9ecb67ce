"""Turning errors into one line and an exit code; the commands themselves are beside this file."""

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from types import FrameType
from typing import NoReturn

import cyclopts

from torchedge import __version__
from torchedge.cli.benchmark import benchmark
from torchedge.cli.export import export
from torchedge.cli.targets import targets
from torchedge.errors import TorchedgeError

__all__ = ["COMMANDS_GROUP", "main", "make_app", "run_recipe"]

COMMANDS_GROUP = "torchedge.commands"

_USAGE, _FAILURE, _INTERRUPTED = 2, 1, 130
_DEBUG = "--debug"


def make_app() -> cyclopts.App:
    """Every command, those of installed packages too."""
    app = cyclopts.App(
        name="torchedge",
        help="Take a trained network to verified artefacts on edge devices.",
        version=__version__,
        suppress_keyboard_interrupt=False,
    )
    for command in (export, benchmark, targets):
        app.command(command)
    for entry in entry_points(group=COMMANDS_GROUP):
        command = entry.load()
        if isinstance(command, cyclopts.App):
            app.command(command)  # it has a name of its own
        else:
            app.command(command, name=entry.name)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: As typed; defaults to the process's own.

    Returns:
        The exit code: 0 done, 1 it failed, 2 it cannot be done as asked.

    Example:
        >>> main(["--version"])
        0.1.0
        0
    """
    return _run(make_app(), sys.argv[1:] if arguments is None else arguments)


def run_recipe(recipe: Callable[..., None]) -> NoReturn:
    """Run a recipe's ``main`` with the command line, and end the process as ``torchedge`` would.

    Args:
        recipe: A function whose signature is the command line and whose docstring is the help.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    app = cyclopts.App(help_format="markdown", suppress_keyboard_interrupt=False)
    app.default(recipe)
    sys.exit(_run(app, sys.argv[1:]))


def _run(app: cyclopts.App, arguments: Sequence[str]) -> int:
    words = [word for word in arguments if word != _DEBUG]
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except (Exception, KeyboardInterrupt) as error:
        if _DEBUG in arguments:
            raise
        return _explain(error)
    return 0


def _explain(error: BaseException) -> int:
    """One line on the error stream, and the exit code that goes with it."""
    if isinstance(error, cyclopts.CycloptsError):
        return _say(" ".join(str(error).split()), _USAGE)
    if isinstance(error, TorchedgeError):
        return _say(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return _say("interrupted; nothing was written.", _INTERRUPTED)
    first_line = (str(error).splitlines() or [""])[0]
    return _say(f"{type(error).__name__}: {first_line} ({_DEBUG} shows where)", _FAILURE)


def _stop(number: int, frame: FrameType | None) -> None:
    """Let a polite kill unwind the stack, so that half-written folders are removed."""
    sys.exit(128 + number)


def _say(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr)  # noqa: T201
    return code
