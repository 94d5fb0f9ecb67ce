"""TensorRT bundles on the machine that exports: counted by rules, never claimed to have run."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import final

from torchedge.bench.census import Census
from torchedge.bench.session import Session
from torchedge.errors import NotRunError
from torchedge.exporting.artifact import Artifact, Format
from torchedge_tensorrt.step import PLAIN_FILE, QUANTIZED_FILE

__all__ = ["TensorRTBundleRunner"]

_GPU_NODES = (Path("/dev/nvidiactl"), Path("/dev/nvhost-gpu"), Path("/dev/nvgpu"))


@final
class TensorRTBundleRunner:
    """Refuses to run: an engine is built and timed on the Jetson, by the bundle's own scripts."""

    format = Format("tensorrt-bundle")
    label = "TensorRT"

    def open(self, artifact: Artifact) -> AbstractContextManager[Session]:
        """Say that nothing was run.

        Raises:
            NotRunError: Always.
        """
        if any(node.exists() for node in _GPU_NODES):
            raise NotRunError(
                "TensorRT: not run, engine not built here; build_engine.py builds it on the board"
            )
        raise NotRunError("TensorRT: not run, engine not built here: no GPU")

    def census(self, artifact: Artifact) -> Census:
        """Count the layers that TensorRT's rules allow in INT8.

        Raises:
            ArtifactError: The bundle's ONNX file cannot be read.
        """
        from torchedge_tensorrt.census import eligible_census

        name = QUANTIZED_FILE if QUANTIZED_FILE in artifact.files else PLAIN_FILE
        return eligible_census(artifact.file(name))
