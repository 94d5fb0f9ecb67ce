"""Files for the Edge TPU on this machine: counted by rules, never claimed to have run."""

from contextlib import AbstractContextManager
from typing import final

from torchedge.bench.census import Census, LayerCount
from torchedge.bench.session import Session
from torchedge.errors import NotRunError
from torchedge.export.artifact import Artifact, Format
from torchedge_edgetpu.step import MODEL_FILE

__all__ = ["EdgeTPURunner"]


@final
class EdgeTPURunner:
    """Refuses to run: Coral's compiler and an Edge TPU are needed."""

    format = Format("edgetpu")
    label = "Edge TPU"

    def open(self, artifact: Artifact) -> AbstractContextManager[Session]:
        """Say that nothing was run.

        Raises:
            NotRunError: Always.
        """
        raise NotRunError("Edge TPU: not run, edgetpu_compiler and a Coral device are needed")

    def census(self, artifact: Artifact) -> Census:
        """Count what the compiler's documentation lets the Edge TPU compute.

        Raises:
            ArtifactError: The file cannot be read.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        from torchedge_edgetpu.operators import mapped_operators
        from torchedge_tflite.census import operator_counts, operator_macs
        from torchedge_tflite.flatbuffer import read_model

        flat = read_model(artifact.file(MODEL_FILE))
        layers = tuple(
            LayerCount(
                name=f"{index}: {flat.tensors[entry.operator.outputs[0]].name.split('/')[-1]}",
                operation=entry.operator.name,
                macs=operator_macs(entry.operator, flat),
                integer=not entry.reason,
                reason=entry.reason,
            )
            for index, entry in enumerate(mapped_operators(flat))
            if operator_macs(entry.operator, flat) or entry.reason
        )
        return Census(
            layers=layers,
            evidence="the Edge TPU compiler's documentation: not run",
            operators=operator_counts(flat),
        )
