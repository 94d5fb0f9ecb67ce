"""What passes between steps: a folder of files, described and sealed by ``manifest.json``."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NewType, final

from torchedge import __version__
from torchedge.errors import ArtifactError, UsageError
from torchedge.export.normalisation import Normalisation
from torchedge.scheme import QuantScheme

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

Format = NewType("Format", str)
MANIFEST = "manifest.json"
_MANIFEST_VERSION = 1
_MANIFEST_BYTES_LIMIT = 16 * 2**20


@final
@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, static shape, and scale where it is an integer grid."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@final
@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 of one file of an artefact."""

    bytes: int
    sha256: str


@final
@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A folder whose files match its manifest.

    Args:
        path: The folder.
        format: What the folder holds, for example ``torch`` or ``onnx``.
        inputs: What the network takes, in order.
        outputs: What it returns, in order.
        made_by: The steps that led here, oldest first.
        sha256: Digest over the names, sizes and digests of all files.
        name: The model's name.
        class_names: What the scores of the first output stand for; empty where that is not known.
        scheme: The numbers it was trained for; ``None`` for a float model.
        metrics: Figures measured so far, by name.
        details: What the step that wrote it wants the next one to know.
        files: Every file but the manifest, by its path inside the folder.
        normalisation: What the first input went through; ``None`` where that is not known.
    """

    path: Path
    format: Format
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    made_by: tuple[str, ...]
    sha256: str = ""
    name: str = "model"
    class_names: tuple[str, ...] = ()
    scheme: QuantScheme | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    normalisation: Normalisation | None = None

    def file(self, name: str) -> Path:
        """Path of one of its files.

        Raises:
            ArtifactError: The manifest lists no such file.
        """
        if name not in self.files:
            raise ArtifactError(
                f"'{self.path}' ({self.format}) holds no '{name}', only {', '.join(self.files)}; "
                "export it again."
            )
        return self.path / name


def file_record(path: Path) -> FileRecord:
    """Size and SHA-256 of a file, read in chunks."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(2**20):
            digest.update(chunk)
        return FileRecord(stream.tell(), digest.hexdigest())


def _digest(files: Mapping[str, FileRecord]) -> str:
    lines = [f"{name} {record.bytes} {record.sha256}" for name, record in sorted(files.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_artifact(draft: Artifact) -> Artifact:
    """Seal the files that lie in ``draft.path`` with a manifest.

    A step describes what it wrote by ``dataclasses.replace(source, path=folder, …)``.

    Args:
        draft: Everything but ``files`` and ``sha256``, which are read from the folder.

    Returns:
        The artefact as :func:`load_artifact` would read it.
    """
    files = {
        path.relative_to(draft.path).as_posix(): file_record(path)
        for path in sorted(draft.path.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    artifact = replace(draft, files=files, sha256=_digest(files))
    (draft.path / MANIFEST).write_text(
        json.dumps(_to_plain(artifact), indent=2) + "\n", encoding="utf-8"
    )
    return artifact


def copy_artifact(artifact: Artifact, folder: Path) -> Artifact:
    """Copy the files that the manifest lists, and the manifest, into a new folder."""
    for name in (*artifact.files, MANIFEST):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.path / name, copy)
    return replace(artifact, path=folder)


def _to_plain(artifact: Artifact) -> dict[str, Any]:
    return {
        "manifest_version": _MANIFEST_VERSION,
        "torchedge": __version__,
        "name": artifact.name,
        "class_names": list(artifact.class_names),
        "format": artifact.format,
        "made_by": list(artifact.made_by),
        "inputs": [asdict(spec) for spec in artifact.inputs],
        "outputs": [asdict(spec) for spec in artifact.outputs],
        "scheme": None if artifact.scheme is None else artifact.scheme.to_dict(),
        "metrics": dict(artifact.metrics),
        "details": dict(artifact.details),
        "normalisation": None if artifact.normalisation is None else asdict(artifact.normalisation),
        "files": {name: asdict(record) for name, record in artifact.files.items()},
        "sha256": artifact.sha256,
    }


def load_artifact(folder: Path | str) -> Artifact:
    """Read a manifest and check every file against it before anything else is done with them.

    Args:
        folder: What a recipe or an export wrote.

    Raises:
        ArtifactError: The folder or manifest is missing or unreadable, a file is missing, has
            another size or hash, or lies outside the folder.
    """
    folder = Path(folder)
    plain = _read_manifest(folder)
    try:
        artifact = _from_plain(folder, plain)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ArtifactError(
            f"'{folder / MANIFEST}' is not a manifest of version {_MANIFEST_VERSION} "
            f"({type(error).__name__}: {error}); export the model again."
        ) from error
    for name, record in artifact.files.items():
        _require_unchanged(folder, name, record)
    if _digest(artifact.files) != artifact.sha256:
        raise ArtifactError(
            f"'{folder / MANIFEST}' was edited: its list of files does not match its own digest; "
            "export the model again."
        )
    return artifact


def _read_manifest(folder: Path) -> Any:  # noqa: ANN401
    path = folder / MANIFEST
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise ArtifactError(
            f"'{folder}' {found}; give a folder that a recipe or an export wrote, "
            "for example runs/digits-jetson/torch."
        )
    if not path.is_file():
        raise ArtifactError(_no_manifest_message(folder))
    if path.stat().st_size > _MANIFEST_BYTES_LIMIT:
        raise ArtifactError(f"'{path}' has {path.stat().st_size:,} bytes; that is no manifest.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"'{path}' is not valid JSON ({error}); export the model again."
        ) from error


def _no_manifest_message(folder: Path) -> str:
    inside = sorted(child.parent.name for child in folder.glob(f"*/{MANIFEST}"))
    if inside:
        return (
            f"'{folder}' holds several artefacts: {', '.join(inside)}; "
            f"name one, for example {folder / inside[0]}."
        )
    return f"'{folder}' holds no {MANIFEST}; give a folder that a recipe or an export wrote."


def _from_plain(folder: Path, plain: Mapping[str, Any]) -> Artifact:
    if plain["manifest_version"] != _MANIFEST_VERSION:
        raise ValueError(f"manifest_version is {plain['manifest_version']!r}")
    scheme = plain["scheme"]
    normalisation = plain.get("normalisation")
    return Artifact(
        path=folder,
        format=Format(str(plain["format"])),
        inputs=tuple(_tensor_spec(spec) for spec in plain["inputs"]),
        outputs=tuple(_tensor_spec(spec) for spec in plain["outputs"]),
        made_by=tuple(str(step) for step in plain["made_by"]),
        sha256=str(plain["sha256"]),
        name=str(plain["name"]),
        class_names=tuple(str(name) for name in plain.get("class_names", ())),
        scheme=None if scheme is None else QuantScheme.from_dict(scheme),
        metrics={str(name): float(value) for name, value in plain["metrics"].items()},
        details=dict(plain["details"]),
        normalisation=None if normalisation is None else Normalisation.from_dict(normalisation),
        files={
            str(name): FileRecord(int(record["bytes"]), str(record["sha256"]))
            for name, record in plain["files"].items()
        },
    )


def _tensor_spec(plain: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in plain["shape"])
    return TensorSpec(plain["name"], shape, plain["dtype"], plain["scale"], plain["zero_point"])


def _require_unchanged(folder: Path, name: str, record: FileRecord) -> None:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name:
        raise ArtifactError(f"the manifest of '{folder}' lists '{name}', outside the folder.")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise ArtifactError(f"'{path}' is in the manifest but not a file; export the model again.")
    if (size := path.stat().st_size) != record.bytes:
        raise ArtifactError(
            f"'{path}' has {size:,} bytes, the manifest says {record.bytes:,}: it was cut short or "
            "changed; copy or export it again."
        )
    if (found := file_record(path).sha256) != record.sha256:
        raise ArtifactError(
            f"'{path}' has SHA-256 {found[:12]}…, the manifest says {record.sha256[:12]}…: it was "
            "changed after the export; copy or export it again."
        )
