"""The findings about one export, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from torchedge.bench.census import Census
from torchedge.bench.latency import Latency
from torchedge.bench.memory import Fit
from torchedge.bench.parity import Parity
from torchedge.exporting.artifact import Artifact
from torchedge.exporting.stages import Stage
from torchedge.exporting.target import Target
from torchedge.report.diagnostics import Diagnostics
from torchedge.report.render import to_json, to_markdown, to_text

__all__ = ["Report", "SpeedComparison", "Stage"]


@final
@dataclass(frozen=True, kw_only=True)
class SpeedComparison:
    """Two forms of the network, timed in turn in one process.

    Args:
        float_latency: Of the float32 form.
        integer_latency: Of the integer form.
        ratio: Median over pairs of float time by integer time; above 1 integers win.
        place: Where it was measured.
        integer_share: Share of the MACs that ran on integers there; at 0, int8 was simulated;
            ``None`` where nothing counts them.
        form: The precision of the second form.
    """

    float_latency: Latency
    integer_latency: Latency
    ratio: float
    place: str
    integer_share: float | None
    form: str = "int8"


@final
@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was found out about one export.

    Args:
        artifact: The target's own artefact.
        target: Where it will run.
        metrics: Figures by name, those of training included.
        parity: Of the last artefact that could be run.
        latency: Of the same.
        stages: Every form of the network, in order; the float network first.
        census: Share of integer arithmetic in the last artefact, and its operators.
        speed: Float against integers.
        diagnostics: Where the network loses accuracy, if the recipe looked.
        fit: What it takes of the device's memories, where the export weighed them.
        notes: What else must be said, sentences without a full stop.
    """

    artifact: Artifact
    target: Target
    metrics: Mapping[str, float]
    parity: Parity | None = None
    latency: Latency | None = None
    stages: tuple[Stage, ...] = ()
    census: Census | None = None
    speed: SpeedComparison | None = None
    diagnostics: Diagnostics | None = None
    fit: Fit | None = None
    notes: tuple[str, ...] = ()

    @override
    def __str__(self) -> str:
        """The table of all forms, and the sentences below it."""
        return to_text(self)

    def to_markdown(self) -> str:
        """The report as a page."""
        return to_markdown(self)

    def to_json(self) -> str:
        """The report for programs."""
        return to_json(self)
