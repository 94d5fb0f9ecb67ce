"""One process at a time writes to a place; the system takes the lock from whoever dies."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchedge.errors import OutputExistsError, StorageError
from torchedge.writing.owners import is_gone, parsed_owner, this_process

__all__ = ["sole_writer"]

_CANNOT_LOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def sole_writer(folder: Path, lock: Path) -> Iterator[None]:
    """Hold the lock file of a place while the block runs, and remove it afterwards.

    Args:
        folder: The place, for the text of the error.
        lock: A file beside it.

    Raises:
        OutputExistsError: Another process writes there.
        StorageError: The folder above takes no files.
    """
    descriptor = _locked(folder, lock)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(this_process()).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # while it is held: whoever waits for this file finds that it is gone
        os.close(descriptor)
        if os.name == "nt":  # which removes no file that is open
            lock.unlink(missing_ok=True)


def _locked(folder: Path, lock: Path) -> int:
    while True:
        descriptor = _opened(folder, lock)
        try:
            _take(descriptor, folder, lock)
            if _is_still_there(descriptor, lock):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(folder: Path, lock: Path) -> int:
    try:
        return os.open(lock, _FLAGS, 0o666)
    except FileNotFoundError as error:  # of a folder that is there, as /proc is
        raise StorageError(
            f"'{folder.parent}' takes no files, so '{folder}' cannot be written; choose another "
            "--out."
        ) from error


def _take(descriptor: int, folder: Path, lock: Path) -> None:
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(folder, lock) from error
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _CANNOT_LOCK:
            raise
        _require_no_owner(folder, lock)  # a file system or a computer without such locks


def _require_no_owner(folder: Path, lock: Path) -> None:
    owner = parsed_owner(lock.read_text(encoding="ascii", errors="replace"))
    if owner is not None and owner != this_process() and not is_gone(owner):
        raise _in_use(folder, lock)


def _is_still_there(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _in_use(folder: Path, lock: Path) -> OutputExistsError:
    text = ""
    with contextlib.suppress(OSError):
        text = lock.read_text(encoding="ascii", errors="replace")
    owner = parsed_owner(text)
    who = f"process {owner.pid}" if owner else "another process"
    return OutputExistsError(
        f"{who} is writing '{folder}' right now; wait until it is done, or choose another --out. "
        f"(It holds '{lock}'.)"
    )
