"""From a trained artefact to the device's format, one folder with a manifest at every step."""

from torchedge.bench.gate import Gate
from torchedge.exporting.artifact import Artifact, Format, TensorSpec, load_artifact, write_artifact
from torchedge.exporting.normalisation import Normalisation
from torchedge.exporting.pipeline import export_chain, remaining_steps
from torchedge.exporting.plugins import runner, target, target_names
from torchedge.exporting.step import ExportStep
from torchedge.exporting.target import Budget, Target
from torchedge.writing import require_free

__all__ = [
    "Artifact",
    "Budget",
    "ExportStep",
    "Format",
    "Gate",
    "Normalisation",
    "Target",
    "TensorSpec",
    "export_chain",
    "load_artifact",
    "remaining_steps",
    "require_free",
    "runner",
    "target",
    "target_names",
    "write_artifact",
]
