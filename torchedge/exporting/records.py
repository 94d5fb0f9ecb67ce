"""What a manifest says, as values: an artefact, its files, and what its network takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NewType, final

from torchedge.errors import ArtifactError
from torchedge.exporting.normalisation import Normalisation
from torchedge.scheme import QuantScheme

__all__ = ["Artifact", "FileRecord", "Format", "TensorSpec"]

Format = NewType("Format", str)


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
    """Size and SHA-256 of one file of an artefact.

    Args:
        bytes: Its size.
        sha256: Its digest.
        kept_in: The folder beside the artefact's own that holds it, under the same name; empty
            where the artefact's own does.
    """

    bytes: int
    sha256: str
    kept_in: str = ""


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
        sha256: Digest over all that the manifest says: the files' sizes and digests, and each of
            the fields here.
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
        self.record(name)
        return self.folder_of(name) / name

    def folder_of(self, name: str) -> Path:
        """The folder that holds one of its files: its own, or one beside it."""
        kept_in = self.files[name].kept_in
        return self.path.absolute().parent / kept_in if kept_in else self.path

    def record(self, name: str) -> FileRecord:
        """Size and hash of one of its files.

        Raises:
            ArtifactError: The manifest lists no such file.
        """
        if name not in self.files:
            raise ArtifactError(
                f"'{self.path}' ({self.format}) holds no '{name}', only {', '.join(self.files)}; "
                "export it again."
            )
        return self.files[name]
