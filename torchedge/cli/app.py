"""Turning errors into one line and an exit code; the commands themselves are beside this file."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType

import cyclopts

from torchedge import __version__
from torchedge.cli.benchmark import benchmark
from torchedge.cli.export import export
from torchedge.cli.targets import targets
from torchedge.errors import TorchedgeError

__all__ = ["main"]

_USAGE, _FAILURE, _INTERRUPTED = 2, 1, 130


def _app() -> cyclopts.App:
    app = cyclopts.App(
        name="torchedge",
        help="Take a trained network to verified artefacts on edge devices.",
        version=__version__,
    )
    for command in (export, benchmark, targets):
        app.command(command)
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
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    signal.signal(signal.SIGTERM, _stop)
    try:
        result = _app()(
            [word for word in given if word != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except cyclopts.CycloptsError as error:
        return _say(str(error).replace("\n", " "), _USAGE)
    except TorchedgeError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written.", _INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        first_line = (str(error).splitlines() or [""])[0]
        text = f"{type(error).__name__}: {first_line} (a defect; --debug shows where)"
        return _say(text, _FAILURE)
    return result if isinstance(result, int) else 0


def _stop(number: int, frame: FrameType | None) -> None:
    """Let a polite kill unwind the stack, so that half-written folders are removed."""
    sys.exit(128 + number)


def _say(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr)  # noqa: T201
    return code
