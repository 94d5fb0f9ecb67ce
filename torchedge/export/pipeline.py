"""Walking a target's steps, and never leaving half of a folder behind."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torchedge.bench.gate import GATE, Gate
from torchedge.errors import OutputExistsError, SchemeError, StorageError
from torchedge.export.artifact import Artifact, load_artifact
from torchedge.export.plugins import target_of
from torchedge.export.stages import require_like_float, verified_stages
from torchedge.export.step import ExportStep
from torchedge.export.target import Target
from torchedge.scheme import QuantScheme

__all__ = [
    "export",
    "export_chain",
    "remaining_steps",
    "require_free",
    "require_scheme",
    "staged_folder",
]

_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def remaining_steps(source: Artifact, target: Target) -> tuple[ExportStep, ...]:
    """The steps from the format of ``source`` to the end of the target's way.

    Raises:
        SchemeError: No step of the target reads that format.
    """
    for index, step in enumerate(target.steps):
        if step.consumes == source.format:
            return target.steps[index:]
    way = " → ".join([target.steps[0].consumes, *(step.produces for step in target.steps)])
    raise SchemeError(
        f"'{source.path}' is '{source.format}'; the way to {target.name} is {way} and no step "
        "reads that. Give the folder that the recipe wrote."
    )


def require_scheme(source: Artifact, target: Target) -> None:
    """Refuse to run a model with other numbers than it was trained with.

    A target that runs the float form takes any. One that calibrates takes a float model, whose
    calibration samples its step asks for.

    Raises:
        SchemeError: The source is float, or was trained with another scheme.
    """
    if target.runs_float or (target.calibrates and source.scheme is None):
        return
    if source.scheme is None:
        raise SchemeError(
            f"'{source.path}' is a float model and {target.name} runs integers; "
            f"call prepare_qat(model, target('{target.name}').scheme, inputs) in the recipe."
        )
    if not _runs(target.scheme, source.scheme):
        raise SchemeError(
            f"'{source.path}' was trained with other numbers than {target.name} runs "
            f"({_first_difference(source, target)}); run the recipe with --target {target.name}."
        )


def _runs(device: QuantScheme, trained: QuantScheme) -> bool:
    """Whether the numbers are the same; integers of fewer bits fit into the device's weights."""
    fewer = trained.weight.bits <= device.weight.bits
    wider = replace(trained, weight=replace(trained.weight, bits=device.weight.bits))
    return fewer and wider == device


def _first_difference(source: Artifact, target: Target) -> str:
    trained, device = source.scheme, target.scheme
    assert trained is not None
    if trained.activation != device.activation:
        return f"activations: trained {trained.activation}; device {device.activation}"
    if trained.weight != device.weight:
        return f"weights: trained {trained.weight}; device {device.weight}"
    return "the quantisers sit elsewhere, or biases differ"


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse an output folder that exists, unless it may be replaced.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is off.
    """
    if folder.exists() and not overwrite:
        raise OutputExistsError(
            f"'{folder}' exists; choose another --out, or add --overwrite to replace it."
        )


@contextmanager
def staged_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside ``folder`` that takes its name when the block ends without an error.

    After an error, or a kill that Python can see, it is removed; a folder left by a process that
    died unseen is removed by the next export to the same place.

    Args:
        folder: Where the files are wanted.
        overwrite: Replace an existing folder, in the last moment.

    Raises:
        OutputExistsError: The folder exists and ``overwrite`` is off.
        StorageError: The disk refuses the files.
    """
    folder = Path(folder).absolute()
    require_free(folder, overwrite=overwrite)
    staging = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    with _storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        staging.mkdir()
        try:
            yield staging
            _swap(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        free = shutil.disk_usage(_existing_parent(folder)).free
        raise StorageError(
            f"cannot write '{folder}': {error.strerror}; {free:,} bytes are free there. "
            "Nothing was left behind; free some space or choose another --out."
        ) from error


def _existing_parent(folder: Path) -> Path:
    return next(parent for parent in folder.parents if parent.exists())


def _remove_abandoned(folder: Path) -> None:
    prefix = f".{folder.name}.partial-"
    for leftover in folder.parent.glob(f"{prefix}*"):
        pid = leftover.name.removeprefix(prefix)
        if pid.isdigit() and (int(pid) == os.getpid() or not _is_alive(int(pid))):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _swap(staging: Path, folder: Path) -> None:
    replaced = folder.parent / f".{folder.name}.partial-{os.getpid()}-replaced"
    if folder.exists():
        folder.rename(replaced)
    try:
        staging.rename(folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise
    if replaced.is_dir():
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        replaced.unlink(missing_ok=True)


def export_chain(source: Artifact, target: Target, folder: Path) -> tuple[Artifact, ...]:
    """Run the remaining steps into an existing folder, one sub-folder for each format.

    Returns:
        Every artefact that was written, the target's own last.

    Raises:
        SchemeError: The source does not fit the target.
        BudgetError: The last artefact exceeds the target's budget.
    """
    steps = remaining_steps(source, target)
    require_scheme(source, target)
    artifacts = []
    for step in steps:
        place = folder / step.produces
        place.mkdir()
        source = step.export(source, place)
        artifacts.append(source)
    target.budget.check(source)
    return tuple(artifacts)


def export(
    source: Artifact | Path | str,
    target: Target | str,
    folder: Path | str,
    *,
    overwrite: bool = False,
    gate: Gate = GATE,
) -> Artifact:
    """Take an artefact all the way to a target, and open every form of it again.

    What is refused, and when, is as with ``torchedge export``, which also writes a report.

    Args:
        source: What a recipe saved, or any artefact on the target's way, or its folder.
        target: Where it will run, or the name of it.
        folder: New folder; it appears only when every step has succeeded and every form that can
            be run here computes what it should.
        overwrite: Replace the folder if it exists.
        gate: How far from the user's float network it may be.

    Returns:
        The target's own artefact, inside ``folder``.

    Raises:
        TorchedgeError: As the steps, :func:`staged_folder`, the budget and
            :func:`~torchedge.export.stages.verified_stages` raise it.
    """
    source = load_artifact(source) if isinstance(source, Path | str) else source
    folder, target = Path(folder), target_of(target)
    remaining_steps(source, target)
    require_scheme(source, target)
    require_free(folder, overwrite=overwrite)
    require_like_float(source, gate)
    with staged_folder(folder, overwrite=overwrite) as staging:
        artifacts = export_chain(source, target, staging)
        verified_stages(source, artifacts, gate)
    last = artifacts[-1]
    return replace(last, path=folder.absolute() / last.path.name)
