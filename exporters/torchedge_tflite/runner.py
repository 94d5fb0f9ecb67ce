"""TFLite artefacts in LiteRT."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from torchedge.bench.census import Census
from torchedge.bench.session import Session
from torchedge.exporting.artifact import Artifact, Format
from torchedge_tflite.session import Kernels, open_model
from torchedge_tflite.step import FLOAT_FILE, MODEL_FILE

__all__ = ["TFLiteRunner"]


@final
@dataclass(frozen=True, kw_only=True)
class TFLiteRunner:
    """Opens ``model.tflite`` on the CPU, on one thread.

    Args:
        kernels: ``xnnpack``, or LiteRT's plain ``reference`` kernels.
    """

    kernels: Kernels = "xnnpack"

    format = Format("tflite")
    label = "int8, LiteRT"

    @contextmanager
    def open(self, artifact: Artifact) -> Iterator[Session]:
        """Load the integer model; the session takes and returns floats in PyTorch's layout.

        Raises:
            ArtifactError: LiteRT cannot read it.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        yield self._session(artifact, MODEL_FILE)

    @contextmanager
    def open_float(self, artifact: Artifact) -> Iterator[Session]:
        """Load the float32 twin of the model, to compare its speed.

        Raises:
            ArtifactError: LiteRT cannot read it.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        yield self._session(artifact, FLOAT_FILE)

    def _session(self, artifact: Artifact, name: str) -> Session:
        return open_model(
            artifact.file(name), artifact.inputs, artifact.outputs, kernels=self.kernels
        )

    def census(self, artifact: Artifact) -> Census:
        """Count integer arithmetic in the operators of the file.

        Raises:
            ArtifactError: The file cannot be read.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        from torchedge_tflite.census import file_census

        return file_census(artifact.file(MODEL_FILE))
