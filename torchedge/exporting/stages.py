"""Every form of a network on its way, opened again and held against the float network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from torchedge.bench.gate import GATE, Gate
from torchedge.bench.parity import Parity, compare_answers, top1_accuracy
from torchedge.bench.session import Array, Runner, Session
from torchedge.errors import NotRunError, VerificationError
from torchedge.exporting.artifact import Artifact
from torchedge.exporting.plugins import known_runner
from torchedge.exporting.samples import (
    SAMPLES_FILE,
    Samples,
    load_samples,
    require_fitting_samples,
)

__all__ = ["LEAST_AGREEMENT", "Stage", "deployed_bytes", "require_like_float", "verified_stages"]

LEAST_AGREEMENT = 0.99
_LOST_DB = 1.0  # what two right answers differ by in their distance from float
_RECOGNISABLE_DB = 10.0  # another network's answers are not within a third of float's
_FLOAT_ACCURACY = "float_accuracy"
_NOT_RUN, _NOT_GIVEN = "not run", "not given"


@final
@dataclass(frozen=True, kw_only=True)
class Stage:
    """One form of the network on its way.

    Args:
        name: For example ``Q/DQ in ONNX Runtime``.
        accuracy: Share of samples whose label it finds; ``None`` without labels or without a run.
        measured_by: Who measured it, where that was not this export.
        bytes: Size of what would be deployed; ``None`` where there is no file.
        parity: How it differs from the network that the export began with.
        compared_with: Which other network it was compared with, where it was another one.
        note: What else must be said, for example that it was not run.
        like_float: How it differs from the user's float network; ``None`` where either is missing.
        shortfall: What is further from the float network than the gate allows, where the export was
            forced.
        missing: Why there are no answers, in two words: ``not run`` or ``not given``.
    """

    name: str
    accuracy: float | None = None
    measured_by: str = ""
    bytes: int | None = None
    parity: Parity | None = None
    compared_with: str = ""
    note: str = ""
    like_float: Parity | None = None
    shortfall: str = ""
    missing: str = ""


def require_like_float(source: Artifact, gate: Gate = GATE) -> None:
    """Refuse a network that lost too much, by the answers that were saved; nothing is run.

    Args:
        source: The artefact that an export begins with.
        gate: What it may have lost.

    Raises:
        VerificationError: It is further from its float network than the gate allows.
        ArtifactError: Its samples are damaged.
    """
    if SAMPLES_FILE not in source.files:
        return
    samples = _samples(source)
    if samples.float_answers and samples.expected:
        _through_gate(source.name, _like_float(source, samples.expected, samples), gate)


def verified_stages(
    source: Artifact, artifacts: Sequence[Artifact], gate: Gate = GATE
) -> tuple[Stage, ...]:
    """Run every artefact on the source's samples; the float network comes first.

    Args:
        source: The artefact that the export began with; it carries samples and expected answers.
        artifacts: What the steps wrote, in order.
        gate: How far each may be from the float network.

    Returns:
        One entry for each form; what cannot be run here says so.

    Raises:
        VerificationError: An artefact that was run agrees with the PyTorch model on fewer than 99 %
            of the samples (top-1, or cosine similarity for other outputs), or it is further from
            the float network than the gate allows.
        ArtifactError: A file cannot be read by its runtime, or there are no samples to run it on.
    """
    can_be_run = any(known_runner(artifact.format) for artifact in (source, *artifacts))
    nothing = Samples(inputs=(), expected=())
    samples = _samples(source) if can_be_run else nothing
    stages = [*_float_stage(source, samples)]
    names = [_stage_name(artifact, samples) for artifact in (source, *artifacts)]
    if source.scheme is None and not samples.float_answers:
        samples = replace(samples, float_answers=samples.expected)  # it is the float network
    forms = zip(names, (source, *artifacts), strict=True)
    return (*stages, *(_stage(name, artifact, samples, gate) for name, artifact in forms))


def _samples(artifact: Artifact) -> Samples:
    samples = load_samples(artifact.file(SAMPLES_FILE))
    require_fitting_samples(samples, artifact)
    return samples


def _float_stage(source: Artifact, samples: Samples) -> Iterator[Stage]:
    """The user's float network, where the source is another one."""
    if source.scheme is None and not samples.float_answers:
        return
    told = source.metrics.get(_FLOAT_ACCURACY)
    stage = Stage(
        name="float32, PyTorch",
        accuracy=told,
        measured_by="" if told is None else "the recipe, before quantisation",
    )
    if not samples.float_answers:
        why = source.details.get("float_network", _NOT_GIVEN)
        yield replace(stage, missing=_NOT_GIVEN, note=f"float network: {why}")
    elif told is None and samples.labels is not None:
        yield replace(stage, accuracy=top1_accuracy(samples.float_answers[0], samples.labels))
    else:
        yield stage


def _stage(name: str, artifact: Artifact, samples: Samples, gate: Gate) -> Stage:
    """One form of the network against the answers that it ought to give."""
    compared_with = str(artifact.details.get("compared_with", ""))
    if compared_with:  # a step has made another network, and brought that one's answers
        own = _samples(artifact)
        samples = replace(own, float_answers=samples.float_answers)
    stage = Stage(name=name, bytes=deployed_bytes(artifact) or None)
    try:
        with _runner(artifact).open(artifact) as session:
            answers = _answers(session, artifact, samples)
    except NotRunError as error:
        return replace(stage, note=str(error), missing=_NOT_RUN)
    names, scales = zip(*((spec.name, spec.scale) for spec in artifact.outputs), strict=True)
    parity = compare_answers(answers, _cut(samples.expected, answers), scales=scales, names=names)
    noisy = _is_below_noise(parity, artifact, samples)
    if not noisy and not _is_as_near_to_float(answers, artifact, samples):
        _require_agreement(artifact, parity)
    labels = samples.labels
    stage = replace(
        stage,
        parity=parity,
        accuracy=None if labels is None else top1_accuracy(answers[0], labels[: len(answers[0])]),
        compared_with=compared_with,
    )
    if not samples.float_answers:
        return stage
    like_float = _like_float(artifact, answers, samples)
    shortfall = _through_gate(f"{artifact.name} as {stage.name}", like_float, gate)
    return replace(stage, like_float=like_float, shortfall=shortfall)


def deployed_bytes(artifact: Artifact) -> int:
    """Size of what goes to the device; 0 where the manifest does not say what that is.

    Raises:
        ArtifactError: It names what is none of its files.
    """
    named = artifact.details.get("deployed_files", [])
    names = named if isinstance(named, list | tuple) else [named]
    return sum(artifact.record(str(name)).bytes for name in names)


def _runner(artifact: Artifact) -> Runner:
    found = known_runner(artifact.format)
    if found is None:
        raise NotRunError(f"{artifact.format}: not run, no installed package runs it")
    return found


def _stage_name(artifact: Artifact, samples: Samples) -> str:
    if artifact.format != "torch":
        opener = known_runner(artifact.format)
        label = artifact.format if opener is None else opener.label
        return str(artifact.details.get(f"{artifact.format}_label", label))
    if artifact.scheme is not None:
        return "fake-quantised, PyTorch"
    return "float32, PyTorch, as saved" if samples.float_answers else "float32, PyTorch"


def _answers(session: Session, artifact: Artifact, samples: Samples) -> tuple[Array, ...]:
    """To all samples, output by output; a last batch that is not whole is left out."""
    found = [session(*inputs) for inputs in samples.batches(artifact.inputs[0].shape[0])]
    if not found:
        raise VerificationError("there are no samples to compare with; save some with the model.")
    return tuple(np.concatenate([np.atleast_1d(x) for x in c]) for c in zip(*found, strict=True))


def _cut(arrays: tuple[Array, ...], answers: tuple[Array, ...]) -> tuple[Array, ...]:
    """As many samples as were answered."""
    return tuple(array[: len(answers[0])] for array in arrays)


def _like_float(artifact: Artifact, answers: tuple[Array, ...], samples: Samples) -> Parity:
    names = [spec.name for spec in artifact.outputs] if len(artifact.outputs) > 1 else []
    return compare_answers(answers, _cut(samples.float_answers, answers), names=names)


def _through_gate(what: str, like_float: Parity, gate: Gate) -> str:
    """What falls short, where that was allowed; empty where nothing does."""
    shortfall = gate.shortfall(like_float)
    if shortfall and not gate.forced:
        raise VerificationError(
            f"'{what}' is too far from its float network: {shortfall}; nothing was written. "
            "Calibrate on more data or with another rule, or look with analyse(model, batches) "
            "where it is lost; --min-agreement and --min-sqnr move the limits, --force exports it "
            "all the same."
        )
    return shortfall


def _is_below_noise(parity: Parity, artifact: Artifact, samples: Samples) -> bool:
    """Whether answers are nearer to the reference's than quantisation has moved those from float.

    In a deep network a last bit that rounds the other way grows to some steps, and of scores that
    are near to each other another one wins; no step of the export has done that. A network that
    quantisation has ruined hides nothing: answers must be as near as any to float must be.
    """
    if artifact.scheme is None or not samples.float_answers:
        return False
    cost = compare_answers(samples.expected, samples.float_answers)
    pairs = zip(parity.outputs, cost.outputs, strict=True)
    ratios = [(found.sqnr_db, moved.sqnr_db) for found, moved in pairs]
    return all(
        found is not None and moved is not None and found > max(moved, GATE.sqnr_db)
        for found, moved in ratios
    )


def _is_as_near_to_float(answers: tuple[Array, ...], artifact: Artifact, samples: Samples) -> bool:
    """Whether answers are no further from the float network's than the reference's are.

    Where roundings have grown to the size of quantisation itself, two right answers are as far from
    each other as each of them is from float. Answers of another network are far from both.
    """
    if artifact.scheme is None or not samples.float_answers:
        return False
    cost = compare_answers(samples.expected, samples.float_answers)
    own = _like_float(artifact, answers, samples)
    pairs = zip(own.outputs, cost.outputs, strict=True)
    return all(
        found.sqnr_db is not None
        and moved.sqnr_db is not None
        and found.sqnr_db >= max(moved.sqnr_db - _LOST_DB, _RECOGNISABLE_DB)
        for found, moved in pairs
    )


def _require_agreement(artifact: Artifact, parity: Parity) -> None:
    by_top1 = parity.top1_agreement is not None
    agreement = parity.top1_agreement if by_top1 else parity.cosine_similarity
    assert agreement is not None
    if agreement < LEAST_AGREEMENT:
        raise VerificationError(
            f"'{artifact.format}' agrees with the PyTorch model on {agreement:.2%} "
            f"({'top-1' if by_top1 else 'cosine similarity'}) of {parity.samples:,} samples, less "
            f"than {LEAST_AGREEMENT:.0%}; nothing was written. Train or calibrate longer; if that "
            "does not help, it is a defect of the exporter: please report the model."
        )
