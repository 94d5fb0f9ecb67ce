"""``torchedge export``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchedge.children import Program, run_child
from torchedge.text import console, for_file_name, for_terminal, say
from torchedge.writing import temporary_folder

if TYPE_CHECKING:
    from torchedge.bench.gate import Gate
    from torchedge.exporting.target import Target
    from torchedge.report.report import Report

__all__ = ["export"]

_Recipe = Literal["digits", "keyword-spotting"]


def export(  # noqa: PLR0913 - options of a command line
    source: Path | None = None,
    /,
    *,
    target: str,
    recipe: _Recipe | None = None,
    jetpack: str | None = None,
    precision: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    min_agreement: float = 0.9,
    min_sqnr: float = 20.0,
    force: bool = False,
) -> None:
    """Export a trained model to a target, open every artefact again, and report.

    Args:
        source: Folder that a recipe wrote. Left out, a recipe trains one first.
        target: Where the model will run; see torchedge targets.
        recipe: Which one: digits (default, about a minute) or keyword-spotting (minutes).
        jetpack: JetPack on the board, for example 5.1; default the target's own, newest one.
        precision: int8 or fp16 for Jetsons; int8, float16, dynamic-range or float32 for Raspberry
            Pis and Android; default the best of the device.
        out: New folder for artefacts and report; default runs/MODEL-TARGET.
        overwrite: Replace the folder if it holds nothing but what an export or a recipe wrote.
        min_agreement: Least share of samples, 0 to 1, on which the largest score is the float
            network's; below it the export ends with exit code 1.
        min_sqnr: The same for outputs that are no rows of scores: least SQNR in decibels.
        force: Export all the same what is further from the float network; the report says so.
    """
    from torchedge.bench.gate import Gate
    from torchedge.delivery import deliver
    from torchedge.errors import UsageError
    from torchedge.exporting.artifact import load_artifact
    from torchedge.exporting.plugins import target as target_named
    from torchedge.exporting.sources import explain_file
    from torchedge.exporting.target import configured

    gate = Gate(agreement=min_agreement, sqnr_db=min_sqnr, forced=force)
    place = configured(target_named(target), jetpack=jetpack, precision=precision)
    if source is not None and recipe is not None:
        raise UsageError(f"'{source}' is trained already; leave out --recipe {recipe}.")
    if source is None:
        recipe = recipe or "digits"
        folder = out or _default_folder(recipe, target)
        report = _train_and_deliver(recipe, place, target, folder, gate, overwrite=overwrite)
    else:
        if source.is_file():
            raise UsageError(explain_file(source))
        artifact = load_artifact(source)
        folder = out or _default_folder(artifact.name, target)
        report = deliver(
            artifact, place, folder, overwrite=overwrite, gate=gate, progress=_progress
        )
    _print(report, folder)


def _train_and_deliver(
    recipe: _Recipe, place: "Target", target: str, folder: Path, gate: "Gate", *, overwrite: bool
) -> "Report":
    """Train first; a folder that cannot be written to is refused before minutes of work."""
    from torchedge.delivery import deliver_into
    from torchedge.exporting.artifact import load_artifact
    from torchedge.exporting.pipeline import staged_folder

    with (
        staged_folder(folder, overwrite=overwrite) as staging,
        _trained_model(recipe, target) as trained,
    ):
        return deliver_into(load_artifact(trained), place, staging, gate=gate, progress=_progress)


def _default_folder(model: str, target: str) -> Path:
    return Path("runs") / f"{for_file_name(model)}-{target}"


def _progress(text: str) -> None:
    say(f"… {text}", as_error=True)


def _print(report: "Report", folder: Path) -> None:
    from torchedge.report.render import summary_lines, to_table

    terminal = console()
    terminal.print(to_table(report))
    for line in summary_lines(report):
        terminal.print(for_terminal(line), soft_wrap=True)
    what = f"Wrote {folder}: report.md, report.json, {report.artifact.path.name}/"
    terminal.print(for_terminal(what), soft_wrap=True)


@contextmanager
def _trained_model(recipe: _Recipe, target: str) -> Iterator[Path]:
    """Run an embedded recipe in a process of its own and yield its folder."""
    from torchedge.errors import ExportError

    script = _script(recipe)
    with temporary_folder("recipe") as folder:
        trained = folder / recipe
        _progress(f"no SOURCE given: training '{recipe}' ({script}) for '{target}'")
        done = run_child(
            Program(
                command=[sys.executable, str(script), "--target", target, "--out", str(trained)],
                keeps_terminal=True,
                environment={"TMPDIR": str(folder)},
            )
        )
        number = max(-done.returncode, done.returncode - 128)  # as the system says it, or a shell
        if number > 0:
            raise ExportError(f"the recipe was ended by signal {number}; nothing was written.")
        if done.returncode:
            sys.exit(done.returncode)  # the recipe has said why, in one line
        yield trained


def _script(recipe: _Recipe) -> Path:
    """A recipe's script: in the repository, or inside the installed wheel."""
    from torchedge.errors import MissingDependencyError

    package = Path(__file__).parent.parent
    name = f"{recipe.replace('-', '_')}.py"
    places = (package.parent / "recipes" / name, package / "default_recipe" / name)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise MissingDependencyError(
            f"the embedded recipe '{recipe}' is missing from this installation; give a SOURCE "
            "folder, or type: pip install --force-reinstall torchedge"
        )
    return found
