"""Microcontroller projects on the machine that exports, in TensorFlow Lite Micro itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from torchedge.bench.census import Census
from torchedge.bench.memory import Fit
from torchedge.bench.session import Session
from torchedge.errors import ArtifactError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.reading.plain import as_whole
from torchedge_tflite_micro.session import open_micro
from torchedge_tflite_micro.step import MODEL_FILE

__all__ = ["TFLiteMicroRunner"]

_LARGEST_ARENA = 2**28


@final
class TFLiteMicroRunner:
    """Opens ``model.tflite`` with the reference kernels, in the smallest arena that was found.

    Its integers are those of a microcontroller; its speed is not.
    """

    format = Format("tflite-micro")
    label = "int8, TFLite Micro"

    @contextmanager
    def open(self, artifact: Artifact) -> Iterator[Session]:
        """Load the model; the session takes and returns floats in PyTorch's layout.

        Raises:
            ArtifactError: It cannot be run in the arena that the manifest names.
            MissingDependencyError: tflite-micro or ai-edge-litert is not installed.
        """
        yield open_micro(
            artifact.file(MODEL_FILE),
            artifact.inputs,
            artifact.outputs,
            arena_bytes=_arena_bytes(artifact),
        )

    def census(self, artifact: Artifact) -> Census:
        """Count integer arithmetic in the operators of the file.

        Raises:
            ArtifactError: The file cannot be read.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        from torchedge_tflite.census import file_census

        return file_census(artifact.file(MODEL_FILE))

    def fit(self, artifact: Artifact) -> Fit:
        """Flash and RAM, part by part, as the export found them.

        Raises:
            ArtifactError: The manifest has none of it.
        """
        return Fit.from_dict(_detail(artifact, "fit"))


def _arena_bytes(artifact: Artifact) -> int:
    try:
        return as_whole(_detail(artifact, "smallest_arena_bytes"), least=1, most=_LARGEST_ARENA)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"the manifest of '{artifact.path}' has no size of an arena ({error}); export it again."
        ) from error


def _detail(artifact: Artifact, name: str) -> Any:  # noqa: ANN401
    if name not in artifact.details:
        raise ArtifactError(f"the manifest of '{artifact.path}' has no {name}; export it again.")
    return artifact.details[name]
