"""Paths as the system sees them: links followed, mounts known, names beside a name."""

import hashlib
import os
import tempfile
from pathlib import Path

from torchedge.errors import UsageError

__all__ = ["beside", "is_mount_point", "named", "same_or_inside", "temporary_place"]

_MOUNTS = Path("/proc/self/mountinfo")
_PLACE_OF_MOUNT_POINT = 4
_LONGEST_NAME_BYTES = 150  # of the 255 that file systems take

_LONGEST_NAME = 255  # bytes, of every common file system


def named(folder: Path | str) -> Path:
    """The absolute path, in which only the last name may be a link.

    Example:
        >>> named(Path("/usr/bin/..")).as_posix()
        '/usr'
    """
    folder = Path(folder)
    _require_possible(folder)
    if folder.name in {"", ".."}:
        return folder.resolve()
    return folder.parent.resolve() / folder.name


def _require_possible(folder: Path) -> None:
    for part in folder.parts:
        length = len(os.fsencode(part))
        if "\0" in part or length > _LONGEST_NAME:
            raise UsageError(
                f"'{part[:40]}…' is no name of a file or a folder: it has {length} bytes, up to "
                f"{_LONGEST_NAME} and none of them zero can be; choose another --out."
            )


def same_or_inside(path: Path | str, folder: Path) -> bool:
    """Whether a path is the folder or lies in it, by whatever name it is called."""
    path = Path(path).resolve()
    return any(_is_same(place, folder) for place in (path, *path.parents))


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return first == second


def is_mount_point(folder: Path) -> bool:
    """Whether another file system, or another part of this one, is seen there."""
    if folder.is_mount():
        return True
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    escaped = os.fspath(folder).replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split()[_PLACE_OF_MOUNT_POINT] == escaped for line in lines)


def beside(folder: Path, ending: str) -> Path:
    """A hidden name next to a folder's, short enough for every file system."""
    name = folder.name
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return folder.parent / f".{name}.{ending}"


def temporary_place() -> Path:
    """The folder for what nobody needs later, found without writing to it.

    It is the one that the program chose (`tempfile.tempdir`), or the first of `TMPDIR`, `TEMP`,
    `TMP` and `/tmp` that may be written. Python tries a folder by a file of its own, which a kill
    in that moment would leave; it is asked only where none of these is left.

    Raises:
        FileNotFoundError: There is none.
    """
    named_ones = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    usual = [*named_ones, *(["/tmp"] if os.name == "posix" else [])]  # noqa: S108 - as Python does
    found = next((p for p in usual if Path(p).is_dir() and os.access(p, os.W_OK | os.X_OK)), None)
    return Path(tempfile.tempdir or found or tempfile.gettempdir()).absolute()
