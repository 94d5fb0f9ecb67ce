"""``torchedge export``."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchedge.export.artifact import Artifact
    from torchedge.export.target import Target
    from torchedge.report.report import Report

__all__ = ["export"]


def export(
    source: Path | None = None,
    /,
    *,
    target: str,
    jetpack: str | None = None,
    precision: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Export a trained model to a target, open every artefact again, and report.

    Args:
        source: Folder that a recipe wrote. Left out, recipes/digits.py trains one first (about a
            minute).
        target: Where the model will run; see torchedge targets.
        jetpack: JetPack on the board, for example 5.1; default the target's own, newest one.
        precision: int8 or fp16, for targets that have both; default the best of the device.
        out: New folder for artefacts and report; default runs/MODEL-TARGET.
        overwrite: Replace the folder if it exists.
    """
    from torchedge.export.artifact import load_artifact
    from torchedge.export.pipeline import remaining_steps, require_scheme
    from torchedge.export.plugins import target as target_named
    from torchedge.export.target import configured

    place = configured(target_named(target), jetpack=jetpack, precision=precision)
    if source is None:
        _refuse_existing(out or _default_folder("digits", target), overwrite)
        with _default_model(target) as trained:
            _export(load_artifact(trained), target, place, out, overwrite)
        return
    artifact = load_artifact(source)
    remaining_steps(artifact, place)
    require_scheme(artifact, place)
    _refuse_existing(out or _default_folder(artifact.name, target), overwrite)
    _export(artifact, target, place, out, overwrite)


def _default_folder(model: str, target: str) -> Path:
    return Path("runs") / f"{model}-{target}"


def _refuse_existing(folder: Path, overwrite: bool) -> None:
    """Say so before minutes of work, not after."""
    from torchedge.export.pipeline import require_free

    require_free(folder, overwrite=overwrite)


def _export(
    artifact: "Artifact", target_name: str, place: "Target", out: Path | None, overwrite: bool
) -> None:
    from torchedge.export.artifact import copy_artifact
    from torchedge.export.pipeline import export_chain, staged_folder
    from torchedge.report.verify import verify

    folder = out or _default_folder(artifact.name, target_name)
    with staged_folder(folder, overwrite=overwrite) as staging:
        if artifact.format == "torch":
            artifact = copy_artifact(artifact, staging / artifact.format)
        _progress(f"exporting '{artifact.name}' for {place.device.name}")
        artifacts = export_chain(artifact, place, staging)
        _progress("opening every artefact again")
        report = verify(artifact, artifacts, place)
        (staging / "report.md").write_text(report.to_markdown())
        (staging / "report.json").write_text(report.to_json())
    _print(report, folder)


def _progress(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)  # noqa: T201


def _print(report: "Report", folder: Path) -> None:
    from rich.console import Console

    from torchedge.report.render import summary_lines, to_table

    console = Console(soft_wrap=False)
    console.print(to_table(report))
    for line in summary_lines(report):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(
        f"Wrote {folder}: report.md, report.json, {report.artifact.path.name}/", soft_wrap=True
    )


@contextmanager
def _default_model(target: str) -> Iterator[Path]:
    """Train the embedded default in a process of its own and yield its folder."""
    from torchedge.errors import ExportError

    recipe = _recipe()
    with tempfile.TemporaryDirectory(prefix="torchedge-") as folder:
        trained = Path(folder) / "digits"
        _progress(f"no SOURCE given: training the digits network ({recipe}) for '{target}'")
        command = [sys.executable, str(recipe), "--target", target, "--out", str(trained)]
        done = subprocess.run(command, check=False)
        if done.returncode > 0:
            sys.exit(done.returncode)  # the recipe has said why, in one line
        if done.returncode < 0:
            raise ExportError(
                f"the recipe was ended by signal {-done.returncode}; nothing was written."
            )
        yield trained


def _recipe() -> Path:
    """The digits recipe: in the repository, or inside the installed wheel."""
    import torchedge
    from torchedge.errors import MissingDependencyError

    package = Path(torchedge.__file__).parent
    places = (package.parent / "recipes/digits.py", package / "default_recipe/digits.py")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise MissingDependencyError(
            "the embedded recipe is missing from this installation; give a SOURCE folder, or type: "
            "pip install --force-reinstall torchedge"
        )
    return found
