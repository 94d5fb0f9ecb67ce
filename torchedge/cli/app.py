"""Turning errors into one line and an exit code; the commands themselves are beside this file."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import cyclopts

from torchedge.cli.benchmark import benchmark
from torchedge.cli.export import export
from torchedge.cli.targets import targets
from torchedge.errors import TorchedgeError
from torchedge.stopping import raise_if_stopped
from torchedge.telling import harmless_messages
from torchedge.text import can_say_anything, say
from torchedge.version import __version__

__all__ = ["COMMANDS_GROUP", "make_app", "run_command", "run_function"]

COMMANDS_GROUP = "torchedge.commands"

_USAGE, _FAILURE, _INTERRUPTED, _BROKEN_PIPE = 2, 1, 130, 141
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


def run_command(arguments: Sequence[str]) -> int:
    """One command of the command line; see :func:`torchedge.cli.main`."""
    from torchedge.writing import remove_abandoned_temporaries

    remove_abandoned_temporaries()
    return _run(make_app(), arguments)


def run_function(recipe: Callable[..., None]) -> int:
    """A recipe; see :func:`torchedge.cli.run_recipe`."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    app = cyclopts.App(help_format="markdown", suppress_keyboard_interrupt=False)
    app.default(recipe)
    return _run(app, sys.argv[1:])


def _run(app: cyclopts.App, arguments: Sequence[str]) -> int:
    words = [word for word in arguments if word != _DEBUG]
    can_say_anything()
    try:
        with harmless_messages():
            app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # here a closed pipe is noticed, and nothing is lost by a late signal
    except BrokenPipeError:  # whoever read has enough
        return _end_of_pipe()
    except (Exception, KeyboardInterrupt) as error:
        raise_if_stopped()
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
        return _say("interrupted; nothing half-written is left behind.", _INTERRUPTED)
    first_line = (str(error).splitlines() or [""])[0]
    return _say(f"{type(error).__name__}: {first_line} ({_DEBUG} shows where)", _FAILURE)


def _end_of_pipe() -> int:
    """Nobody reads the output; Python must not try to write the rest when it ends."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return _BROKEN_PIPE


def _say(text: str, code: int) -> int:
    say(f"error: {text}", as_error=True)
    return code
