"""Folders for what nobody needs later; what a killed process left is removed by the next one."""

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchedge.errors import StorageError
from torchedge.writing.owners import OWNER, is_gone, parsed_owner, this_process
from torchedge.writing.places import temporary_place
from torchedge.writing.space import temporary_storage_errors
from torchedge.writing.swap import remove

__all__ = ["remove_abandoned_temporaries", "temporary_folder"]

_BEGIN = "torchedge-"
_NAME = re.compile(rf"{_BEGIN}[a-z0-9]+-({OWNER})-[^-]+")


@contextmanager
def temporary_folder(kind: str) -> Iterator[Path]:
    """A new folder in the temporary folder that goes when the block ends.

    Args:
        kind: What it is for, in small letters.

    Raises:
        StorageError: The temporary folder is full.
    """
    place = _place()
    with temporary_storage_errors(place):
        folder = Path(tempfile.mkdtemp(prefix=f"{_BEGIN}{kind}-{this_process()}-", dir=place))
    try:
        with temporary_storage_errors(place):  # asked while the files that fill it are there
            yield folder
    finally:
        remove(folder)


def _place() -> Path:
    try:
        return temporary_place()
    except FileNotFoundError as error:
        raise StorageError(
            f"no temporary folder can be written ({error.strerror}); set TMPDIR to one with room."
        ) from error


def remove_abandoned_temporaries() -> None:
    """Remove the temporary folders of this user's processes that have died on this machine."""
    with contextlib.suppress(OSError, StorageError):
        for entry in os.scandir(_place()):
            found = _NAME.fullmatch(entry.name)
            owner = parsed_owner(found[1]) if found else None
            if owner is not None and is_gone(owner) and _is_own_folder(entry):
                remove(Path(entry.path))


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return mine and stat.S_ISDIR(found.st_mode)
