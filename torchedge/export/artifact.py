"""What passes between steps: a folder of files, described and sealed by ``manifest.json``."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

from torchedge.errors import ArtifactError, UsageError
from torchedge.export.manifest import MANIFEST, MANIFEST_VERSION, from_plain, sealed
from torchedge.export.records import Artifact, FileRecord, Format, TensorSpec
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
    "load_artifact",
    "write_artifact",
]

_MOST_MANIFEST_BYTES = 16 * 2**20


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
    artifact, plain = sealed(replace(draft, files=files))
    (draft.path / MANIFEST).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return artifact


def copy_artifact(artifact: Artifact, folder: Path) -> Artifact:
    """Copy the files that the manifest lists, and the manifest, into a new folder."""
    for name in (*artifact.files, MANIFEST):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(require_inside(artifact.path, name), copy)
    return replace(artifact, path=folder)


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
        _require_unchanged(folder, name, record)
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


def _require_unchanged(folder: Path, name: str, record: FileRecord) -> None:
    path = require_inside(folder, name)
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
