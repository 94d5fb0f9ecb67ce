"""ONNX artefacts in ONNX Runtime."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from torchedge.bench.census import Census
from torchedge.bench.session import Session
from torchedge.exporting.artifact import Artifact, Format
from torchedge_onnx.session import open_model
from torchedge_onnx.step import FLOAT_FILE, MODEL_FILE

__all__ = ["OnnxRunner"]


@final
class OnnxRunner:
    """Opens ``model.onnx`` on the CPU, with kernels that never saturate intermediate sums."""

    format = Format("onnx")
    label = "Q/DQ, ONNX Runtime"

    @contextmanager
    def open(self, artifact: Artifact) -> Iterator[Session]:
        """Load the quantised model.

        Raises:
            ArtifactError: ONNX Runtime cannot read it.
            MissingDependencyError: onnxruntime is not installed.
        """
        yield open_model(artifact.file(MODEL_FILE))

    @contextmanager
    def open_float(self, artifact: Artifact) -> Iterator[Session]:
        """Load the float32 twin of the model, to compare its speed.

        Raises:
            ArtifactError: ONNX Runtime cannot read it.
            MissingDependencyError: onnxruntime is not installed.
        """
        yield open_model(artifact.file(FLOAT_FILE))

    def census(self, artifact: Artifact) -> Census:
        """Count integer arithmetic in the graph that ONNX Runtime really executes.

        Raises:
            ArtifactError: ONNX Runtime cannot read the model.
        """
        from torchedge_onnx.census import runtime_census

        return runtime_census(artifact.file(MODEL_FILE))
