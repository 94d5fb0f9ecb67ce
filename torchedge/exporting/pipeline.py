"""Walking a target's steps; what they write appears when all of it is there."""

from dataclasses import replace
from pathlib import Path

from torchedge.errors import SchemeError
from torchedge.exporting.artifact import Artifact, keeping_once
from torchedge.exporting.samples import SAMPLES_FILE
from torchedge.exporting.step import ExportStep
from torchedge.exporting.target import Target
from torchedge.kinds import kinds_checked
from torchedge.scheme import QuantScheme
from torchedge.writing import require_free, staged_folder

__all__ = [
    "export_chain",
    "remaining_steps",
    "require_free",
    "require_scheme",
    "staged_folder",
]


@kinds_checked()
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
        f"reads that; {source.details.get('way_on', 'give the folder that the recipe wrote.')}"
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
            + source.details.get("way_on", _prepared(target))
        )
    if not _runs(target.scheme, source.scheme):
        raise SchemeError(
            f"'{source.path}' was trained with other numbers than {target.name} runs "
            f"({_first_difference(source, target)}); run the recipe with --target {target.name}."
        )


def _prepared(target: Target) -> str:
    return f"call prepare_qat(model, target('{target.name}').scheme, inputs) in the recipe."


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


@kinds_checked()
def export_chain(source: Artifact, target: Target, folder: Path) -> tuple[Artifact, ...]:
    """Run the remaining steps into an existing folder, one sub-folder for each format.

    Samples that several formats have in common are kept once, by the first of them in the folder.

    Returns:
        Every artefact that was written, the target's own last.

    Raises:
        SchemeError: The source does not fit the target.
        BudgetError: The last artefact exceeds the target's budget.
    """
    steps = remaining_steps(source, target)
    require_scheme(source, target)
    made = [source]
    for step in steps:
        place = folder / step.produces
        place.mkdir()
        made.append(keeping_once(step.export(made[-1], place), SAMPLES_FILE, made))
    target.budget.check(made[-1])
    return tuple(made[1:])
