"""Which folder may be replaced: one whose every file this package wrote, and nothing in use."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from torchedge.errors import OutputExistsError
from torchedge.kinds import kinds_checked
from torchedge.writing.places import is_mount_point, named, same_or_inside

__all__ = ["foreign_files", "require_free"]

_MANIFEST, _REPORT, _REPORT_TEXT = "manifest.json", "report.json", "report.md"
_OF_A_MANIFEST = {"manifest_version", "torchedge", "files"}
_OF_A_REPORT = {"artifact_sha256", "target", "stages"}
_OF_A_FILE_MANAGER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_MARK, _MARK_WITHIN_BYTES = b"Written by torchedge; do not edit.", 256
_LARGEST_BYTES, _LARGEST_TEXT_BYTES = 16 * 2**20, 2**20
_NAMED = 3


@kinds_checked()
def require_free(
    folder: Path | str,
    *,
    overwrite: bool,
    inputs: Sequence[Path | str] = (),
) -> None:
    """Refuse an output folder that exists, unless it may be replaced and nothing is lost by it.

    Ours is what a manifest or a report of an export in the folder speaks of, a file whose first
    line says so, and an empty folder; anything else is not.

    Args:
        folder: Where the files are wanted.
        overwrite: Whether a folder of ours may be replaced.
        inputs: Files and folders that are read; the folder must not hold them, nor lie in an
            artefact among them.

    Raises:
        OutputExistsError: It lies in an artefact that is read; it exists and ``overwrite`` is off;
            or it is not ours, holds something that is not, or is in use.
    """
    folder = named(folder)
    _require_outside(folder, inputs)
    if not os.path.lexists(folder):
        _require_folder_above(folder)
        return
    if not overwrite:
        raise OutputExistsError(
            f"'{folder}' exists; choose another --out, or add --overwrite to replace it."
        )
    reason = _reason_to_keep(folder, inputs)
    if reason:
        raise OutputExistsError(
            f"'{folder}' is not replaced, because it {reason}; choose another --out."
        )


def _require_outside(folder: Path, inputs: Sequence[Path | str]) -> None:
    """A folder in an artefact would be a file of somebody else's there, and keep it for good."""
    place = folder.resolve()
    for path in map(Path, inputs):
        inside = place != path.resolve() and place.is_relative_to(path.resolve())
        if inside and (path / _MANIFEST).is_file():
            raise OutputExistsError(
                f"'{folder}' lies in '{path}', which is read; choose another --out beside it."
            )


def _require_folder_above(folder: Path) -> None:
    above = next(parent for parent in folder.parents if os.path.lexists(parent))
    if not above.is_dir():
        raise OutputExistsError(
            f"'{above}' is a file, so that '{folder}' cannot be made; choose another --out."
        )


def _reason_to_keep(folder: Path, inputs: Sequence[Path | str]) -> str:
    """Why it must not be replaced, in words that follow "it"; empty where it may be."""
    if folder.is_symlink():
        return f"is a link to '{folder.readlink()}'"
    if not folder.is_dir():
        return "is a file"
    if is_mount_point(folder):
        return "is a mount point"
    if same_or_inside(Path.cwd(), folder):
        return "holds the folder that you are in"
    if same_or_inside(Path.home(), folder):
        return "holds your home folder"
    for path in inputs:
        if same_or_inside(path, folder):
            return f"holds '{path}', which is read"
    return _foreign_text(folder)


def _foreign_text(folder: Path) -> str:
    found = list(islice(foreign_files(folder), _NAMED + 1))
    if not found:
        return ""
    names = ", ".join(f"'{name}'" for name in found[:_NAMED])
    more = " and more" if len(found) > _NAMED else ""
    return f"holds what torchedge did not write there, or what was edited since: {names}{more}"


def foreign_files(folder: Path) -> Iterator[str]:
    """Files, links and devices in a folder that this package did not write, and edited texts.

    Args:
        folder: To be looked through; what cannot be is foreign.
    """
    ours, closed = _written(folder), list[OSError]()
    for place, folders, files in os.walk(folder, onerror=closed.append):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in (*links, *files):
            path = Path(place, name)
            inside = path.relative_to(folder).as_posix()
            if not _is_ours(path, ours.get(inside)):
                yield inside
    yield from (str(error.filename) for error in closed)


def _is_ours(path: Path, digest: str | None) -> bool:
    """Whether a file is what was written; ``digest`` is empty where none is known for a name."""
    if path.is_symlink() or not path.is_file():
        return False
    if path.name in _OF_A_FILE_MANAGER:
        return True
    if digest is not None:
        return not digest or not _was_edited(path, digest)
    with path.open("rb") as stream:
        return _MARK in stream.readline(_MARK_WITHIN_BYTES)


def _was_edited(path: Path, digest: str) -> bool:
    """Whether somebody has changed a text, such as a sketch; a damaged model is no loss."""
    if path.stat().st_size > _LARGEST_TEXT_BYTES:
        return False
    data = path.read_bytes()
    try:
        is_text = b"\0" not in data and bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False
    return is_text and hashlib.sha256(data).hexdigest() != digest


def _written(folder: Path) -> dict[str, str]:
    """Names and digests of what manifests in a folder and right below it list, and of a report."""
    below = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    found: dict[str, str] = {}
    for place in (folder, *below):
        prefix = "" if place == folder else f"{place.name}/"
        found |= {f"{prefix}{name}": digest for name, digest in _listed(place / _MANIFEST).items()}
    if found and set(_read(folder / _REPORT)) >= _OF_A_REPORT:
        found |= {_REPORT: "", _REPORT_TEXT: ""}
    return found


def _listed(manifest: Path) -> dict[str, str]:
    plain = _read(manifest)
    files = plain.get("files")
    if not set(plain) >= _OF_A_MANIFEST or not isinstance(files, dict):
        return {}
    digests = {
        name: str(record.get("sha256", "")) if isinstance(record, dict) else ""
        for name, record in files.items()
    }
    return {_MANIFEST: "", **digests}


def _read(path: Path) -> dict[str, object]:
    """A JSON object; empty where there is none."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
            return {}
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}
