"""What a recipe found out about the quantised network, as it lies in the artefact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from torchedge.errors import ArtifactError
from torchedge.exporting.artifact import Artifact
from torchedge.reading.files import read_bounded
from torchedge.reading.names import one_line
from torchedge.reading.strict_json import strict_json

__all__ = ["Diagnostics", "diagnostics_of"]

_TEXT = "diagnostics/analysis.md"
_FIGURES = "diagnostics/analysis.json"
_MOST_BYTES = 16 * 2**20


@final
@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Where the network loses accuracy, in words, figures and pictures.

    Args:
        text: Markdown.
        figures: The same for programs, and complete.
        pictures: Paths of PNG files, from the folder that holds the report.
    """

    text: str
    figures: Mapping[str, Any]
    pictures: tuple[str, ...]


def diagnostics_of(artifact: Artifact) -> Diagnostics | None:
    """What :func:`torchedge.quantization.diagnostics.attach` put into an artefact, or ``None``.

    Raises:
        ArtifactError: A file of it is missing or no JSON.
    """
    if _FIGURES not in artifact.files:
        return None
    try:
        figures = strict_json(read_bounded(artifact.file(_FIGURES), _MOST_BYTES))
        text = read_bounded(artifact.file(_TEXT), _MOST_BYTES).decode()
    except ValueError as error:
        raise ArtifactError(
            f"'{artifact.path / _FIGURES}' is not valid JSON ({one_line(error)}); analyse "
            "the model again."
        ) from error
    names = [name for name in artifact.files if name.startswith("diagnostics/")]
    return Diagnostics(
        text=text,
        figures=figures,
        pictures=tuple(f"{artifact.path.name}/{n}" for n in names if n.endswith(".png")),
    )
