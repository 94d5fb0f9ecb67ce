"""What passes between steps: a folder of files, described and sealed by ``manifest.json``."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torchedge.errors import ArtifactError, UsageError
from torchedge.exporting.manifest import MANIFEST, MANIFEST_VERSION, from_plain, sealed
from torchedge.exporting.records import Artifact, FileRecord, Format, TensorSpec
from torchedge.kinds import kinds_checked
from torchedge.reading.files import open_regular, read_bounded, require_inside
from torchedge.reading.names import one_line
from torchedge.reading.strict_json import strict_json

__all__ = [
    "MANIFEST",
    "Artifact",
    "FileRecord",
    "Format",
    "TensorSpec",
    "copy_artifact",
    "file_record",
    "keeping_once",
    "load_artifact",
    "write_artifact",
]

_MOST_MANIFEST_BYTES = 8 * 2**20  # a tree takes some fifteen times its text


def file_record(path: Path) -> FileRecord:
    """Size and SHA-256 of a file, read in chunks.

    Raises:
        ArtifactError: It is a link, or no regular file.
    """
    with open_regular(path) as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(2**20):
            digest.update(chunk)
        return FileRecord(stream.tell(), digest.hexdigest())


@kinds_checked()
def write_artifact(draft: Artifact) -> Artifact:
    """Seal the files that lie in ``draft.path`` with a manifest.

    A step describes what it wrote by ``dataclasses.replace(source, path=folder, …)``.

    Args:
        draft: Everything but ``files`` and ``sha256``, which are read from the folder.

    Returns:
        The artefact as :func:`load_artifact` would read it.

    Raises:
        UsageError: The model's name is no name, a word in the manifest has control characters, or
            a detail is nothing that JSON can hold.
    """
    files = {
        path.relative_to(draft.path).as_posix(): file_record(path)
        for path in sorted(draft.path.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    return _sealed_in_place(replace(draft, files=files))


def _sealed_in_place(artifact: Artifact) -> Artifact:
    artifact, plain = sealed(artifact)
    text = json.dumps(plain, indent=2) + "\n"
    (artifact.path / MANIFEST).write_text(text, encoding="utf-8")
    return artifact


def copy_artifact(artifact: Artifact, folder: Path) -> Artifact:
    """Copy the files that the manifest lists into a new folder, which then needs no other."""
    for name in artifact.files:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_place(artifact, name), copy)
    own = {name: replace(record, kept_in="") for name, record in artifact.files.items()}
    return _sealed_in_place(replace(artifact, path=folder, files=own))


def keeping_once(artifact: Artifact, name: str, others: Sequence[Artifact]) -> Artifact:
    """The artefact without its own copy of a file that an artefact beside it holds already.

    Args:
        artifact: Its copy is removed, and its manifest says where the file is.
        name: Of the file.
        others: Artefacts that were written before, in folders beside it or elsewhere.

    Returns:
        The artefact as it is now; unchanged where none of the others holds the same bytes.
    """
    record = artifact.files.get(name)
    beside = [o for o in others if o.path.absolute().parent == artifact.path.absolute().parent]
    holder = next((o for o in beside if record is not None and o.files.get(name) == record), None)
    if record is None or holder is None or record.kept_in:
        return artifact
    (artifact.path / name).unlink()
    kept = replace(record, kept_in=holder.path.name)
    return _sealed_in_place(replace(artifact, files={**artifact.files, name: kept}))


@kinds_checked()
def load_artifact(folder: Path | str) -> Artifact:
    """Read a manifest and check every file against it before anything else is done with them.

    Args:
        folder: What a recipe or an export wrote.

    Raises:
        ArtifactError: The folder or manifest is missing or unreadable; the manifest was edited, is
            of another version, or holds a name that is a path or a word that a terminal would
            obey; a file is missing, is a link or device, has another size or hash, or lies outside
            the folder.
    """
    folder = Path(folder)
    plain = _read_manifest(folder)
    try:
        artifact = from_plain(folder, plain)
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ArtifactError(
            f"'{folder / MANIFEST}' is not a manifest of version {MANIFEST_VERSION} "
            f"({type(error).__name__}: {one_line(error)}); export the model again."
        ) from error
    for name, record in artifact.files.items():
        _require_unchanged(_place(artifact, name), record)
    return artifact


def _read_manifest(folder: Path) -> object:
    path = folder / MANIFEST
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise ArtifactError(
            f"'{folder}' {found}; give a folder that a recipe or an export wrote, "
            "for example runs/digits-jetson/torch."
        )
    if not path.exists() and not path.is_symlink():
        raise ArtifactError(_no_manifest_message(folder))
    data = read_bounded(path, _MOST_MANIFEST_BYTES, follow=False)
    try:
        return strict_json(data)
    except ValueError as error:
        raise ArtifactError(
            f"'{path}' is not valid JSON ({one_line(error)}); export the model again."
        ) from error


def _no_manifest_message(folder: Path) -> str:
    inside = sorted(child.parent.name for child in folder.glob(f"*/{MANIFEST}"))
    if inside:
        return (
            f"'{folder}' holds several artefacts: {', '.join(inside)}; "
            f"name one, for example {folder / inside[0]}."
        )
    return f"'{folder}' holds no {MANIFEST}; give a folder that a recipe or an export wrote."


def _place(artifact: Artifact, name: str) -> Path:
    """Where one of its files is, after each part of the way was looked at."""
    folder, kept_in = artifact.folder_of(name), artifact.files[name].kept_in
    if not kept_in:
        return require_inside(folder, name)
    if not folder.is_dir():
        raise ArtifactError(
            f"'{name}' is kept in the folder '{folder}', which is not there; keep the folders of "
            "one export beside one another, or export the model again."
        )
    return require_inside(folder.parent, f"{kept_in}/{name}")


def _require_unchanged(path: Path, record: FileRecord) -> None:
    if (size := path.lstat().st_size) != record.bytes:
        raise ArtifactError(
            f"'{path}' has {size:,} bytes, the manifest says {record.bytes:,}: it was cut short or "
            "changed; copy or export it again."
        )
    if (found := file_record(path).sha256) != record.sha256:
        raise ArtifactError(
            f"'{path}' has SHA-256 {found[:12]}…, the manifest says {record.sha256[:12]}…: it was "
            "changed after the export; copy or export it again."
        )
