"""An artefact taken to a target: exported step by step, opened again, and reported.

The command line and :func:`torchedge.export` run the same code.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torchedge.bench.gate import GATE, Gate
from torchedge.exporting.artifact import Artifact, copy_artifact, load_artifact
from torchedge.exporting.pipeline import export_chain, remaining_steps, require_scheme
from torchedge.exporting.plugins import target_of
from torchedge.exporting.stages import require_like_float
from torchedge.exporting.target import Target
from torchedge.kinds import kinds_checked
from torchedge.report.report import Report
from torchedge.report.verify import verify
from torchedge.writing import staged_folder

__all__ = ["REPORT_FILE", "deliver", "deliver_into", "silent"]

REPORT_FILE = "report.json"
_PAGE_FILE = "report.md"


def silent(text: str) -> None:
    """Tell nobody how far the work is."""


@kinds_checked("source", "target", "progress")
def deliver(  # noqa: PLR0913 - what the command line has as options
    source: Artifact | Path | str,
    target: Target | str,
    folder: Path | str,
    *,
    verified: bool = True,
    overwrite: bool = False,
    gate: Gate = GATE,
    progress: Callable[[str], None] = silent,
    notes: tuple[str, ...] = (),
) -> Report:
    """Take an artefact all the way to a target, open every form of it again, and report.

    Args:
        source: What was saved, or any artefact on the target's way, or its folder.
        target: Where it will run, or the name of it.
        folder: New folder; it appears only when every step has succeeded and every form that can
            be run here computes what it should. It holds one folder for each form, ``report.md``
            and ``report.json``.
        verified: Open and run every form. Without it nothing is compared, counted or timed, and
            the report has no rows.
        overwrite: Replace the folder if it is one of ours and does not hold the source.
        gate: How far from the user's float network it may be.
        progress: Called with a sentence before each part of the work.
        notes: What the report says besides, sentences without a full stop.

    Returns:
        What was found out; ``report.artifact`` is the target's own artefact inside ``folder``.

    Raises:
        SchemeError: The source does not fit the target.
        VerificationError: A form computes something else than the network, or is further from the
            float network than the gate allows.
        BudgetError: The last artefact exceeds the target's budget.
        OutputExistsError: The folder exists.
        ExportError: A step cannot write the network in the target's format.
        ArtifactError: The source is damaged, or a file cannot be read by its runtime.
    """
    artifact = load_artifact(source) if isinstance(source, Path | str) else source
    place, folder = target_of(target), Path(folder)
    remaining_steps(artifact, place)
    require_scheme(artifact, place)
    with staged_folder(folder, overwrite=overwrite, inputs=(artifact.path,)) as staging:
        report = deliver_into(
            artifact,
            place,
            staging,
            verified=verified,
            gate=gate,
            progress=progress,
            notes=notes,
        )
    last = report.artifact
    return replace(report, artifact=replace(last, path=folder.absolute() / last.path.name))


def deliver_into(
    source: Artifact,
    target: Target,
    staging: Path,
    *,
    verified: bool = True,
    gate: Gate = GATE,
    progress: Callable[[str], None] = silent,
    notes: tuple[str, ...] = (),
) -> Report:
    """Write every form and the report into a folder that exists.

    Args:
        source: Where the way begins.
        target: Where it ends.
        staging: An empty folder.
        verified: Open and run every form.
        gate: How far from the user's float network it may be.
        progress: Called with a sentence before each part of the work.
        notes: What the report says besides.
    """
    require_like_float(source, gate)
    if source.format == "torch":
        source = copy_artifact(source, staging / source.format)
    progress(f"exporting '{source.name}' for {target.device.name}")
    artifacts = export_chain(source, target, staging)
    if verified:
        progress("opening every artefact again")
        found = verify(source, artifacts, target, gate)
    else:
        found = Report(artifact=artifacts[-1], target=target, metrics=source.metrics)
        notes = (*notes, "Nothing was run, because that was asked for")
    report = replace(found, notes=notes)
    (staging / _PAGE_FILE).write_text(report.to_markdown(), encoding="utf-8")
    (staging / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
    return report
