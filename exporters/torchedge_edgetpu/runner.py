"""Files for the Edge TPU on this machine: counted by rules, never claimed to have run."""

from contextlib import AbstractContextManager
from typing import final

from torchedge.bench.census import Census, LayerCount
from torchedge.bench.session import Session
from torchedge.errors import NotRunError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.reading.files import read_bounded
from torchedge_edgetpu.step import MODEL_FILE

__all__ = ["EdgeTPURunner"]

_MOST_BYTES = 2**31  # what a file of this format can address


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
            ArtifactError: The file cannot be read, or is none that could run.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        from torchedge_edgetpu.operators import mapped_operators
        from torchedge_tflite.census import operator_counts, operator_macs
        from torchedge_tflite.soundness import require_sound

        path = artifact.file(MODEL_FILE)
        flat, _ = require_sound(read_bounded(path, _MOST_BYTES), f"'{path}'")
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
