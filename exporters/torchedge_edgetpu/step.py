"""From a .tflite file to a folder for the Edge TPU's compiler."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torchedge.errors import ExportError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.exporting.samples import SAMPLES_FILE
from torchedge.exporting.step import write_result
from torchedge.exporting.templates import rendered
from torchedge_edgetpu.operators import Mapped, mapped_operators
from torchedge_tflite.step import MODEL_FILE

__all__ = ["MODEL_FILE", "TFLiteToEdgeTPU"]


@final
@dataclass(frozen=True, kw_only=True)
class TFLiteToEdgeTPU:
    """Checks every operator against the compiler's documentation and says how to compile."""

    consumes = Format("tflite")
    produces = Format("edgetpu")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Copy the file, and write which operators the compiler maps.

        Raises:
            ExportError: Not even the first operator is mapped.
            ArtifactError: The file is damaged.
            MissingDependencyError: ai-edge-litert is not installed.
        """
        from torchedge_tflite.flatbuffer import read_model

        mapped = mapped_operators(read_model(source.file(MODEL_FILE)))
        left = [entry for entry in mapped if entry.reason]
        if len(left) == len(mapped):
            raise ExportError(
                f"the Edge TPU compiler would leave '{source.name}' on the CPU: its first operator "
                f"{left[0].operator.name} is not mapped ({left[0].reason}). Begin the network with "
                "a convolution."
            )
        (folder / "README.md").write_text(_readme(source.name, mapped), encoding="utf-8")
        for name in (MODEL_FILE, SAMPLES_FILE):
            shutil.copyfile(source.file(name), folder / name)
        details = {
            **source.details,
            "deployed_files": [MODEL_FILE],
            "operators_on_cpu": [f"{e.operator.name}: {e.reason}" for e in left],
            "compiled": "not run: edgetpu_compiler is not here",
        }
        return write_result(self, source, folder, details)


def _readme(title: str, mapped: tuple[Mapped, ...]) -> str:
    left = [{"operator": e.operator.name, "reason": e.reason} for e in mapped if e.reason]
    values = {
        "title": title,
        "mapped": len(mapped) - len(left),
        "operators": len(mapped),
        "left": left,
    }
    return rendered("torchedge_edgetpu", "README.md.j2", values)
