"""A folder that gets its name when it is complete, and not before."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torchedge.errors import OutputExistsError
from torchedge.stopping import raise_if_stopped
from torchedge.writing.locks import sole_writer
from torchedge.writing.ours import require_free
from torchedge.writing.places import beside, named
from torchedge.writing.space import storage_errors
from torchedge.writing.swap import (
    give_name,
    has_leftovers,
    put_back,
    remove,
    remove_abandoned,
    staging_path,
)
from torchedge.writing.temporaries import remove_abandoned_temporaries

__all__ = ["staged_file", "staged_folder"]

_LOCK = "torchedge-lock"


@contextmanager
def staged_folder(
    folder: Path,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Iterator[Path]:
    """A hidden folder beside ``folder`` that takes its name when the block ends without an error.

    After an error, or a kill that Python can see, it is removed; what a process left that died
    unseen is removed, and a folder that it was about to replace is put back, by the next one that
    writes to the same place. Only one process at a time writes there.

    Args:
        folder: Where the files are wanted.
        overwrite: Replace an existing folder of ours, in the last moment.
        inputs: What is read; a folder that holds it is not replaced.

    Raises:
        OutputExistsError: The folder exists and ``overwrite`` is off; or it must not be replaced,
            see :func:`~torchedge.writing.ours.require_free`; or another process writes there.
        StorageError: The disk refuses the files.
    """
    folder = named(folder)

    def require_allowed() -> None:
        require_free(folder, overwrite=overwrite, inputs=inputs)

    _clean_up(folder)
    require_allowed()
    with _place(folder) as staging:
        require_allowed()  # another process may have written there until now
        staging.mkdir()
        yield staging
        raise_if_stopped()
        require_allowed()  # somebody may have put a file there meanwhile
        give_name(staging, folder, overwrite=overwrite)


def _clean_up(folder: Path) -> None:
    """Finish and remove what dead processes left, also where the new folder is then refused."""
    remove_abandoned_temporaries()
    lock = beside(folder, _LOCK)
    with contextlib.suppress(OSError, OutputExistsError):
        if lock.exists() or has_leftovers(folder):
            with sole_writer(folder, lock):
                put_back(folder)
                remove_abandoned(folder)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """The same for a new file: the block writes to the path that it is given.

    Raises:
        OutputExistsError: There is something of that name, or another process writes it.
        StorageError: The disk refuses the file.
    """
    path = named(path)
    _clean_up(path)
    require_free(path, overwrite=False)
    with _place(path) as staging:
        require_free(path, overwrite=False)
        yield staging
        give_name(staging, path, overwrite=False)


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """The only writer's place to prepare things; whatever is left there is removed."""
    staging = staging_path(folder)
    with storage_errors(folder), _parents(folder), sole_writer(folder, beside(folder, _LOCK)):
        put_back(folder)
        remove_abandoned(folder)
        try:
            yield staging
        finally:
            remove(staging)


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """The folders above, which are removed again if they are new and nothing comes into them."""
    new = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for parent in new:
                parent.rmdir()
