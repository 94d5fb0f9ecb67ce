"""The command line: ``torchedge export | benchmark | targets`` and the commands of plugins."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from torchedge.stopping import end_at_once, stop_in_one_line, stopping_in_one_line

__all__ = ["main", "run_recipe"]


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
    if arguments is None:  # to the very end of the process
        stop_in_one_line()
        try:
            return _loaded_and_run(sys.argv[1:])
        finally:
            end_at_once()
    with stopping_in_one_line():
        return _loaded_and_run(arguments)


def _loaded_and_run(arguments: Sequence[str]) -> int:
    """What takes time to load is loaded when signals are handled already."""
    from torchedge.cli.app import run_command

    return run_command(arguments)


def run_recipe(recipe: Callable[..., None]) -> NoReturn:
    """Run a recipe's ``main`` with the command line, and end the process as ``torchedge`` would.

    Args:
        recipe: A function whose signature is the command line and whose docstring is the help.
    """
    stop_in_one_line()
    try:
        from torchedge.cli.app import run_function

        sys.exit(run_function(recipe))
    finally:
        end_at_once()
