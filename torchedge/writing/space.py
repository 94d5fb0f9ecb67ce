"""A disk that refuses files, named with what is free on it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchedge.errors import StorageError, TorchedgeError
from torchedge.writing.places import temporary_place

__all__ = ["require_room", "storage_errors", "temporary_storage_errors"]

_REFUSED = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.EXDEV, errno.EBUSY),
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_WORDS = ("No space left on device", "Errno 28", "Disk quota exceeded", "not enough space")
_ROOM_BYTES = 2**16  # less than a file needs for anything


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into one line about ``folder``.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise StorageError(
            f"cannot write '{folder}': {error.strerror}; {_free(folder):,} bytes are free there. "
            "Nothing was left behind; free some space or choose another --out."
        ) from error


@contextmanager
def temporary_storage_errors(folder: Path) -> Iterator[None]:
    """The same about the temporary folder, whoever met with it: most libraries hide the reason.

    Raises:
        StorageError: The temporary folder is full.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if _tells_of_full_disk(error) and _is_full(folder):
            raise _full_error(folder) from error
        raise


def require_room(folder: Path, said: str = "") -> None:
    """Say that a folder is full, when a program in it has failed.

    Args:
        folder: Where the program wrote.
        said: What it said; by itself no proof, for another folder may be full.

    Raises:
        StorageError: There is no room.
    """
    told = any(words in said for words in _FULL_WORDS)
    if _is_full(folder) or (told and _free(folder) < 2**26):
        raise _full_error(folder)


def _tells_of_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return not isinstance(error, TorchedgeError) or any(w in str(error) for w in _FULL_WORDS)


def _is_full(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return _free(folder) < _ROOM_BYTES
    found = os.statvfs(_existing(folder))
    no_files = found.f_files > 0 and found.f_favail == 0
    return no_files or _free(folder) < _ROOM_BYTES


def _full_error(folder: Path) -> StorageError:
    temporary = temporary_place().resolve()
    is_temporary = temporary in (folder.resolve(), *folder.resolve().parents)
    what = f"temporary folder '{temporary}'" if is_temporary else f"folder '{folder}'"
    way_out = "set TMPDIR to a folder on another disk" if is_temporary else "choose another --out"
    return StorageError(
        f"the {what} is full: {_free(folder):,} bytes free. Free some space there, or {way_out}; "
        "nothing was left behind."
    )


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
