"""Opening every artefact of an export again, and finding out what it does."""

import platform
from collections.abc import Sequence

from torchedge.arguments import require
from torchedge.bench.census import Census
from torchedge.bench.gate import GATE, Gate
from torchedge.bench.latency import latency_ratio
from torchedge.bench.memory import Fit
from torchedge.bench.session import CountsIntegers, HasFloatTwin, WeighsMemory
from torchedge.devices import HOST
from torchedge.exporting.artifact import Artifact
from torchedge.exporting.plugins import known_runner
from torchedge.exporting.samples import SAMPLES_FILE, Samples, load_samples
from torchedge.exporting.stages import LEAST_AGREEMENT, verified_stages
from torchedge.exporting.target import Target
from torchedge.kinds import kinds_checked
from torchedge.report.diagnostics import diagnostics_of
from torchedge.report.report import Report, SpeedComparison

__all__ = ["LEAST_AGREEMENT", "verify"]

_TIMED_RUNS = 200


@kinds_checked()
def verify(
    source: Artifact, artifacts: Sequence[Artifact], target: Target, gate: Gate = GATE
) -> Report:
    """Run every artefact on the source's samples, count its integer arithmetic, and time it.

    Args:
        source: The artefact that the export began with; it carries samples and expected answers.
        artifacts: What the steps wrote, in order.
        target: Where the last one will run.
        gate: How far from the user's float network they may be.

    Returns:
        What was found; a form of the network that cannot be run here says so.

    Raises:
        VerificationError: An artefact that was run agrees with the PyTorch model on fewer than 99 %
            of the samples (top-1, or cosine similarity for other outputs), or is further from the
            float network than the gate allows.
        ArtifactError: A file cannot be read by its runtime.
        UsageError: There is no artefact.
    """
    require(len(artifacts) > 0, "artifacts", artifacts, "give what the steps of the target wrote")
    samples = load_samples(source.file(SAMPLES_FILE))
    stages = verified_stages(source, artifacts, gate)
    run = [stage.parity for stage in stages if stage.parity is not None]
    census = _census(artifacts[-1])
    speed = _speed(artifacts, samples, target, census)
    return Report(
        artifact=artifacts[-1],
        target=target,
        metrics=source.metrics,
        parity=run[-1] if run else None,
        latency=speed.integer_latency if speed else None,
        stages=stages,
        census=census,
        speed=speed,
        diagnostics=diagnostics_of(source),
        fit=_fit(artifacts[-1]),
    )


def _census(artifact: Artifact) -> Census | None:
    counter = known_runner(artifact.format)
    return counter.census(artifact) if isinstance(counter, CountsIntegers) else None


def _fit(artifact: Artifact) -> Fit | None:
    scales = known_runner(artifact.format)
    return scales.fit(artifact) if isinstance(scales, WeighsMemory) else None


def _speed(
    artifacts: Sequence[Artifact], samples: Samples, target: Target, last_census: Census | None
) -> SpeedComparison | None:
    for artifact in reversed(artifacts):
        opener = known_runner(artifact.format)
        form = str(artifact.details.get("precision", "int8"))
        if form == "float32":
            return None  # it would be compared with itself
        if opener is not None and isinstance(opener, HasFloatTwin):
            census = last_census if artifact is artifacts[-1] else _census(artifact)
            inputs = next(samples.batches(artifact.inputs[0].shape[0]))
            with opener.open(artifact) as integer, opener.open_float(artifact) as floating:
                slow, fast, ratio = latency_ratio(floating, integer, inputs, runs=_TIMED_RUNS)
            return SpeedComparison(
                float_latency=slow,
                integer_latency=fast,
                ratio=ratio,
                place=_place(opener.label, target),
                integer_share=census.integer_share if census else None,
                form=form,
            )
    return None


def _place(label: str, target: Target) -> str:
    here = f"{label} on this computer ({platform.machine()})"
    return here if target.device == HOST else f"{here}, not on {target.device.name}"
