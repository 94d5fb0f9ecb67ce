"""Giving a folder its name: at every instant, also of a kill, one complete folder has it.

Where the system cannot exchange two names at once, the old folder waits under a name that says
so, and :func:`put_back` gives it its own again if the process died in between.
"""

import ctypes
import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from torchedge.errors import OutputExistsError
from torchedge.writing.owners import OWNER, is_gone, parsed_owner, this_process
from torchedge.writing.places import beside

__all__ = [
    "give_name",
    "has_leftovers",
    "put_back",
    "remove",
    "remove_abandoned",
    "staging_path",
]

_STAGING, _WAITING = "partial", "replaced"
_HERE = -100  # AT_FDCWD: paths count from the working directory
_NO_REPLACE, _EXCHANGE = 1, 2
_NOT_SUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}


def staging_path(folder: Path) -> Path:
    """Where this process prepares what is to get the name."""
    return beside(folder, f"{_STAGING}-{this_process()}")


def give_name(staging: Path, folder: Path, *, overwrite: bool) -> None:
    """Let ``staging`` be ``folder``; what had the name is removed.

    Raises:
        OutputExistsError: Something has the name, and ``overwrite`` is off.
    """
    if not os.path.lexists(folder):
        _rename_new(staging, folder)
    elif not overwrite:
        raise _appeared(folder)
    elif _renamed(staging, folder, _EXCHANGE):
        remove(staging)
    else:
        _replace_in_two_steps(staging, folder)


def _rename_new(staging: Path, folder: Path) -> None:
    try:
        if not _renamed(staging, folder, _NO_REPLACE):
            staging.rename(folder)
    except FileExistsError as error:
        raise _appeared(folder) from error


def _appeared(folder: Path) -> OutputExistsError:
    return OutputExistsError(
        f"'{folder}' appeared while its files were made; nothing was written. Choose another --out."
    )


def _replace_in_two_steps(staging: Path, folder: Path) -> None:
    waiting = beside(folder, f"{_WAITING}-{this_process()}")
    folder.rename(waiting)
    try:
        staging.rename(folder)
    except BaseException:
        waiting.rename(folder)
        raise
    remove(waiting)


def put_back(folder: Path) -> None:
    """Finish what a process began that died between the two renames of a replacement."""
    for waiting in _ours(folder, _WAITING):
        if not os.path.lexists(folder):
            waiting.rename(folder)


def has_leftovers(folder: Path) -> bool:
    """Whether anything lies beside a name that a process prepared or put aside."""
    return bool(_ours(folder, _STAGING) or _ours(folder, _WAITING))


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine left beside a name; the others' is theirs."""
    for path in (*_ours(folder, _STAGING), *_ours(folder, _WAITING)):
        owner = parsed_owner("-".join(path.name.split("-")[-3:]))
        if owner is not None and (owner == this_process() or is_gone(owner)):
            remove(path)


def _ours(folder: Path, kind: str) -> list[Path]:
    begin = beside(folder, f"{kind}-").name
    pattern = re.compile(re.escape(begin) + OWNER)
    return sorted(path for path in folder.parent.iterdir() if pattern.fullmatch(path.name))


def remove(path: Path) -> None:
    """Remove a folder, a link or a file; what the system will not give stays."""
    if path.is_dir() and not path.is_symlink():
        for place, _, _ in os.walk(path):
            if not os.access(place, os.W_OK):  # copied from where nothing can be written
                Path(place).chmod(stat.S_IRWXU)
        shutil.rmtree(path, ignore_errors=True)
        return
    path.unlink(missing_ok=True)


def _renamed(source: Path, place: Path, flag: int) -> bool:
    """By Linux's renameat2; ``False`` where system or file system have no such thing.

    Raises:
        OSError: They have, and it failed.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(source), _HERE, os.fsencode(place), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(place))


def _renameat2() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (
        *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint),
    )
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]
