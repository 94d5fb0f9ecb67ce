"""Packages that a benchmark can do without: imported when needed, reported when missing."""

import contextlib
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from torchedge.errors import MissingDependencyError

__all__ = ["attempted", "package", "quiet"]

Result = TypeVar("Result")


def package(name: str) -> ModuleType:
    """Import a peer's module by its dotted name.

    Raises:
        MissingDependencyError: It, or something that it imports, is not installed.

    Example:
        >>> package("json").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(f"not run: pip install -e '.[bench]' ({error})") from error


def attempted(label: str, work: Callable[[], Result]) -> Result | None:
    """What ``work`` gives, or ``None`` and one printed line when its package is missing.

    Example:
        >>> attempted("a peer", lambda: package("no_such_peer"))
        a peer: not run: pip install -e '.[bench]' (No module named 'no_such_peer')
    """
    try:
        return work()
    except MissingDependencyError as error:
        print(f"{label}: {error}")
        return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a peer's progress bars, banners and warnings off the terminal.

    Example:
        >>> with quiet():
        ...     print("0 % ... 100 %")
    """
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
