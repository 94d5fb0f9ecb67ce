"""Opening files that somebody else may have laid out: regular ones only, and no more than asked."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from torchedge.errors import ArtifactError

__all__ = ["open_regular", "read_bounded", "require_inside"]


def require_inside(folder: Path, name: str) -> Path:
    """The path of a file below a folder, after each part of the way was looked at.

    Args:
        folder: It may be a link itself: whoever named it chose it.
        name: With forward slashes, checked by :func:`~torchedge.reading.names.require_file_name`.

    Raises:
        ArtifactError: A part is a link, or the last one no regular file.
    """
    path = folder
    parts = name.split("/")
    for index, part in enumerate(parts):
        path = path / part
        wanted = stat.S_ISREG if index == len(parts) - 1 else stat.S_ISDIR
        try:
            right = wanted(path.lstat().st_mode)
        except (OSError, ValueError):
            right = False
        if not right:
            raise ArtifactError(
                f"'{path}' is in the manifest but not a file of its own (it is missing, a link or "
                "a device); export the model again."
            )
    return path


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a regular file to read; a pipe or device is refused, and never waited for.

    Args:
        path: The file.
        follow: Whether it may be a link.

    Raises:
        ArtifactError: It cannot be opened, or is none.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    try:
        stream = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise ArtifactError(f"'{path}' cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise ArtifactError(f"'{path}' is no regular file.")
    return stream


def read_bounded(path: Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """All bytes of a regular file.

    Args:
        path: The file.
        most_bytes: A larger file is refused, and not read.
        follow: Whether it may be a link.

    Raises:
        ArtifactError: It cannot be read, is no regular file, or larger, or grows meanwhile.
    """
    with open_regular(path, follow=follow) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(size + 1) if size <= most_bytes else b""  # takes what it asks for
    if len(data) > size:
        raise ArtifactError(f"'{path}' grows while it is read; wait until it is written.")
    if size > most_bytes:
        raise ArtifactError(
            f"'{path}' has {size:,} bytes, more than the {most_bytes:,} that such a file can have."
        )
    return data
