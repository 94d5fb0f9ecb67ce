"""Putting an analysis where the report finds it."""

from torchedge.export.artifact import Artifact, write_artifact
from torchedge.quantization.diagnostics.analyse import Analysis

__all__ = ["attach"]


def attach(analysis: Analysis, artifact: Artifact) -> Artifact:
    """Add an analysis to a saved model, and seal the model's folder again.

    Every report on an export of this model then has a section with the table and the pictures.

    Args:
        analysis: Of the model that was saved.
        artifact: What ``CompressedModel.save`` returned.

    Returns:
        The artefact with the files of :meth:`Analysis.save` in its folder ``diagnostics``.
    """
    analysis.save(artifact.path / "diagnostics")
    return write_artifact(artifact)
