"""One arrow of an export: it reads an artefact and writes the next."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torchedge.exporting.artifact import Artifact, Format, write_artifact

__all__ = ["ExportStep", "write_result"]


class ExportStep(Protocol):
    """Turns an artefact of one format into an artefact of another.

    A step imports its vendor's package only inside :meth:`export`.
    """

    @property
    def consumes(self) -> Format:
        """Format of the artefact it reads."""
        ...

    @property
    def produces(self) -> Format:
        """Format of the artefact it writes."""
        ...

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Write the next artefact into ``folder``, which exists and is empty.

        Raises:
            UsageError: The source cannot be written in this format as asked.
            ExportError: The vendor's tool failed.
        """
        ...


def write_result(
    step: ExportStep, source: Artifact, folder: Path, details: Mapping[str, Any]
) -> Artifact:
    """Seal what a step wrote: the source's description, and this step as the last that led here.

    Args:
        step: Gives the format.
        source: What it read.
        folder: What it wrote.
        details: Plain values for the manifest.
    """
    return write_artifact(
        replace(
            source,
            path=folder,
            format=step.produces,
            made_by=(*source.made_by, type(step).__name__),
            details=dict(details),
        )
    )
