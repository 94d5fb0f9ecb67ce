"""Which files of a folder are samples, and of which class each is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torchedge.batches.pictures import PICTURES
from torchedge.errors import CalibrationError

__all__ = ["ARRAYS", "SampleFiles", "sample_files"]

ARRAYS = frozenset({".npy", ".npz"})
_READ = ARRAYS | PICTURES
_PARTS = frozenset({"test", "testing", "train", "training", "val", "valid", "validation"})
_NO_CLASSES = frozenset({"__MACOSX", "__pycache__"})


@final
@dataclass(frozen=True, kw_only=True)
class SampleFiles:
    """Files with samples, in order of class and name.

    Args:
        folder: Where they are.
        paths: The files.
        labels: Class index of each; empty where there are no classes.
        class_names: Names of the classes.
    """

    folder: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def has_arrays(self) -> bool:
        """Whether some of them hold arrays."""
        return any(path.suffix.lower() in ARRAYS for path in self.paths)

    @property
    def has_pictures(self) -> bool:
        """Whether some of them are pictures."""
        return any(path.suffix.lower() in PICTURES for path in self.paths)


def sample_files(folder: Path | str) -> SampleFiles:
    """The arrays and pictures of a folder; two sub-folders or more are classes.

    Class indices are the places of the sub-folders in the order of their names, as in torchvision's
    ``ImageFolder``. A single sub-folder is no class, and hidden files are left out. A file is taken
    as a folder that holds it alone.

    Args:
        folder: Of the files, or of sub-folders with them.

    Raises:
        CalibrationError: There is no such folder, or its files are not all in one place; or the
            sub-folders are the parts of a data set.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for path in (Path(name, "cat", "1.png"), Path(name, "dog", "7.png")):
        ...         path.parent.mkdir()
        ...         path.touch()
        ...     found = sample_files(name)
        >>> found.class_names, found.labels, [path.name for path in found.paths]
        (('cat', 'dog'), (0, 1), ['1.png', '7.png'])
    """
    folder = Path(folder)
    if folder.is_file():
        return SampleFiles(folder=folder, paths=_only(folder))
    if not folder.is_dir():
        raise CalibrationError(
            f"'{folder}' is no folder; name one with pictures, or with .npy or .npz arrays."
        )
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    here = _readable(entries)
    inside = {e: _readable(sorted(e.iterdir())) for e in entries if _may_be_class(e)}
    _require_one_place(folder, here, inside)
    if here or not any(inside.values()):
        _require_read(folder, entries, here)
        return SampleFiles(folder=folder, paths=here)
    return _with_classes(folder, inside)


def _only(path: Path) -> tuple[Path, ...]:
    if found := _readable([path]):
        return found
    raise CalibrationError(
        f"'{path}' is no picture and no .npy or .npz file; load it yourself, and give the tensor."
    )


def _with_classes(folder: Path, inside: dict[Path, tuple[Path, ...]]) -> SampleFiles:
    if len(inside) == 1:
        return SampleFiles(folder=folder, paths=next(iter(inside.values())))
    names = [entry.name for entry in inside]
    if {name.lower() for name in names} <= _PARTS:
        raise CalibrationError(
            f"'{folder}' holds the parts {', '.join(names)} of a data set; name one of them, for "
            f"example '{folder / names[0]}'."
        )
    labels = [index for index, paths in enumerate(inside.values()) for _ in paths]
    return SampleFiles(
        folder=folder,
        paths=tuple(path for paths in inside.values() for path in paths),
        labels=tuple(labels),
        class_names=tuple(names),
    )


def _may_be_class(entry: Path) -> bool:
    return entry.is_dir() and entry.name not in _NO_CLASSES


def _readable(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(
        path
        for path in paths
        if path.suffix.lower() in _READ and not path.name.startswith(".") and path.is_file()
    )


def _require_one_place(
    folder: Path, here: tuple[Path, ...], inside: dict[Path, tuple[Path, ...]]
) -> None:
    both = next((entry.name for entry, paths in inside.items() if paths), None)
    if here and both is not None:
        raise CalibrationError(
            f"'{folder}' holds {len(here)} samples beside the sub-folder '{both}' with more; name "
            "a folder that has one kind: samples, or a sub-folder for each class."
        )


def _require_read(folder: Path, entries: list[Path], here: tuple[Path, ...]) -> None:
    """Say what is there instead where nothing can be read."""
    if here or not entries:
        return
    deeper = [entry.name for entry in entries if _may_be_class(entry)]
    if deeper and any(child.is_dir() for name in deeper for child in (folder / name).iterdir()):
        raise CalibrationError(
            f"'{folder}' holds 0 .npy files and pictures, and its folders {', '.join(deeper[:3])} "
            f"hold only folders; name one of them, for example '{folder / deeper[0]}'."
        )
    endings = Counter(entry.suffix.lower() for entry in entries if entry.is_file())
    if endings:
        ending, count = endings.most_common(1)[0]
        raise CalibrationError(
            f"'{folder}' holds 0 .npy files and pictures, and {count} files that end in "
            f"'{ending}'; convert them to .png, .jpg, .npy or .npz."
        )
