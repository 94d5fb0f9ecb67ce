"""One arrow of an export: it reads an artefact and writes the next."""

from pathlib import Path
from typing import Protocol

from torchedge.export.artifact import Artifact, Format

__all__ = ["ExportStep"]


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
