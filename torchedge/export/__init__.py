"""From a trained artefact to the device's format, one folder with a manifest at every step."""

from torchedge.bench.gate import Gate
from torchedge.export.artifact import Artifact, Format, TensorSpec, load_artifact, write_artifact
from torchedge.export.normalisation import Normalisation
from torchedge.export.pipeline import export, export_chain, remaining_steps
from torchedge.export.plugins import runner, target, target_names
from torchedge.export.step import ExportStep
from torchedge.export.target import Budget, Target
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
    "export",
    "export_chain",
    "load_artifact",
    "remaining_steps",
    "require_free",
    "runner",
    "target",
    "target_names",
    "write_artifact",
]
