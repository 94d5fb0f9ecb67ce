"""Putting an analysis where the report finds it."""

from dataclasses import replace

from torchedge.exporting.artifact import Artifact, copy_artifact, write_artifact
from torchedge.kinds import kinds_checked
from torchedge.quantization.diagnostics.analyse import Analysis
from torchedge.writing import staged_folder

__all__ = ["attach"]


@kinds_checked()
def attach(analysis: Analysis, artifact: Artifact) -> Artifact:
    """Add an analysis to a saved model, and seal the model's folder again.

    Every report on an export of this model then has a section with the table and the pictures.

    Args:
        analysis: Of the model that was saved.
        artifact: What ``CompressedModel.save`` returned.

    Returns:
        The artefact with the files of :meth:`Analysis.save` in its folder ``diagnostics``.

    Raises:
        OutputExistsError: The folder holds what no manifest lists, or another process writes there.
        StorageError: The disk refuses the files.
    """
    with staged_folder(artifact.path, overwrite=True) as staging:  # never a half-sealed model
        copy = copy_artifact(artifact, staging)
        analysis.save(staging / "diagnostics")
        sealed = write_artifact(copy)
    return replace(sealed, path=artifact.path)
