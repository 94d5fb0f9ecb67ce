"""TensorRT bundles on the machine that exports: counted by rules, never claimed to have run."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import final

from torchedge.bench.census import Census
from torchedge.bench.session import Session
from torchedge.errors import NotRunError
from torchedge.export.artifact import Artifact, Format
from torchedge_tensorrt.step import QUANTIZED_FILE

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
                "TensorRT: not run, the engine is built on the Jetson by build_engine.py"
            )
        raise NotRunError("TensorRT: not run, no GPU here")

    def census(self, artifact: Artifact) -> Census:
        """Count the layers that TensorRT's rules allow in INT8.

        Raises:
            ArtifactError: The bundle's ONNX file cannot be read.
        """
        from torchedge_tensorrt.census import eligible_census

        return eligible_census(artifact.file(QUANTIZED_FILE))
