"""Opening every artefact of an export again, and finding out what it does."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from torchedge.bench.census import Census
from torchedge.bench.fit import Fit
from torchedge.bench.latency import latency_ratio
from torchedge.bench.parity import Parity, compare, top1_accuracy
from torchedge.bench.session import Array, CountsIntegers, HasFloatTwin, Session, WeighsMemory
from torchedge.devices import HOST
from torchedge.errors import NotRunError, VerificationError
from torchedge.export.artifact import Artifact
from torchedge.export.plugins import runner
from torchedge.export.samples import SAMPLES_FILE, Samples, load_samples
from torchedge.export.target import Target
from torchedge.report.diagnostics import diagnostics_of
from torchedge.report.report import Report, SpeedComparison, Stage

__all__ = ["LEAST_AGREEMENT", "verify"]

LEAST_AGREEMENT = 0.99
_FLOAT_ACCURACY = "float_accuracy"
_TIMED_RUNS = 200


def verify(source: Artifact, artifacts: Sequence[Artifact], target: Target) -> Report:
    """Run every artefact on the source's samples, count its integer arithmetic, and time it.

    Args:
        source: The artefact that the export began with; it carries samples and expected answers.
        artifacts: What the steps wrote, in order.
        target: Where the last one will run.

    Returns:
        What was found; a form of the network that cannot be run here says so.

    Raises:
        VerificationError: An artefact that was run agrees with the PyTorch model on fewer than 99 %
            of the samples (top-1, or cosine similarity for other outputs).
        ArtifactError: A file cannot be read by its runtime.
    """
    samples = load_samples(source.file(SAMPLES_FILE))
    stages = [*_training_stages(source)]
    stages += [_stage(artifact, samples) for artifact in (source, *artifacts)]
    run = [stage.parity for stage in stages if stage.parity is not None]
    census = _census(artifacts[-1])
    speed = _speed(artifacts, samples, target, census)
    return Report(
        artifact=artifacts[-1],
        target=target,
        metrics=source.metrics,
        parity=run[-1] if run else None,
        latency=speed.integer_latency if speed else None,
        stages=tuple(stages),
        census=census,
        speed=speed,
        diagnostics=diagnostics_of(source),
        fit=_fit(artifacts[-1]),
    )


def _training_stages(source: Artifact) -> Iterator[Stage]:
    if _FLOAT_ACCURACY in source.metrics:
        yield Stage(
            name="float32, PyTorch",
            accuracy=source.metrics[_FLOAT_ACCURACY],
            measured_by="the recipe, before quantisation",
        )


def _stage(artifact: Artifact, samples: Samples) -> Stage:
    opener = runner(artifact.format)
    size = sum(artifact.files[name].bytes for name in artifact.details.get("deployed_files", ()))
    stage = Stage(name=_stage_name(artifact), bytes=size or None)
    try:
        with opener.open(artifact) as session:
            parity, first_output = _compared(session, artifact, samples)
    except NotRunError as error:
        return replace(stage, note=str(error))
    _require_agreement(artifact, parity)
    labels = samples.labels
    accuracy = None if labels is None else top1_accuracy(first_output, labels)
    return replace(stage, parity=parity, accuracy=accuracy)


def _stage_name(artifact: Artifact) -> str:
    if artifact.format != "torch":
        return runner(artifact.format).label
    return "float32, PyTorch" if artifact.scheme is None else "fake-quantised, PyTorch"


def _compared(session: Session, artifact: Artifact, samples: Samples) -> tuple[Parity, Array]:
    batch_size = artifact.inputs[0].shape[0]
    expected = Samples(inputs=samples.expected, expected=()).batches(batch_size)
    answers: list[Array] = []

    def recorded(*inputs: Array) -> tuple[Array, ...]:
        outputs = session(*inputs)
        answers.append(outputs[0])
        return outputs

    parity = compare(
        recorded,
        lambda *_: next(expected),
        samples.batches(batch_size),
        scales=[output.scale for output in artifact.outputs],
    )
    return parity, np.concatenate(answers)


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


def _census(artifact: Artifact) -> Census | None:
    counter = runner(artifact.format)
    return counter.census(artifact) if isinstance(counter, CountsIntegers) else None


def _fit(artifact: Artifact) -> Fit | None:
    scales = runner(artifact.format)
    return scales.fit(artifact) if isinstance(scales, WeighsMemory) else None


def _speed(
    artifacts: Sequence[Artifact], samples: Samples, target: Target, last_census: Census | None
) -> SpeedComparison | None:
    for artifact in reversed(artifacts):
        opener = runner(artifact.format)
        if isinstance(opener, HasFloatTwin):
            census = last_census if artifact is artifacts[-1] else _census(artifact)
            inputs = next(samples.batches(artifact.inputs[0].shape[0]))
            with opener.open(artifact) as integer, opener.open_float(artifact) as floating:
                slow, fast, ratio = latency_ratio(floating, integer, inputs, runs=_TIMED_RUNS)
            return SpeedComparison(
                float_latency=slow,
                integer_latency=fast,
                ratio=ratio,
                place=_place(artifact, target),
                integer_share=census.integer_share if census else None,
            )
    return None


def _place(artifact: Artifact, target: Target) -> str:
    here = f"{runner(artifact.format).label} on this computer ({platform.machine()})"
    return here if target.device == HOST else f"{here}, not on {target.device.name}"
