"""From a trained network to a verified artefact in one call."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from torchedge.api.accuracy_control import Attempt, accuracy_drop, quantized_within
from torchedge.api.samples import SplitData, generated, split
from torchedge.arguments import require
from torchedge.batches.examples import Examples
from torchedge.bench.gate import GATE, Gate
from torchedge.compressed import CompressedModel
from torchedge.delivery import deliver, silent
from torchedge.exporting.plugins import target_of
from torchedge.exporting.target import Target
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.quantization.recovery.quantize import Effort, quantize
from torchedge.report.report import Report
from torchedge.writing import require_free, temporary_folder

__all__ = ["compress"]


@kinds_checked("model", "target", "effort", "example_inputs")
def compress(  # noqa: PLR0913 - one call for the whole way
    model: nn.Module,
    target: Target | str,
    data: object,
    out: Path | str,
    *,
    labels: object = None,
    effort: Effort = "balanced",
    max_drop: float | None = None,
    example_inputs: Examples | None = None,
    name: str = "model",
    overwrite: bool = False,
    gate: Gate = GATE,
    progress: Callable[[str], None] = silent,
) -> Report:
    """Quantise, save, export and verify a trained network for a device.

    One sample of four is held out: the rest calibrates, and every form of the network is run on
    what was held out.

    Args:
        model: A trained float network; it is not changed.
        target: Where it will run, or the name of it; :func:`torchedge.targets` lists them.
        data: Inputs as the network sees them in use, some 100 to 500: a ``DataLoader`` (its labels
            are used for accuracies), a tensor, a list of batches, a folder of pictures or arrays.
            With ``None``, inputs are made from the statistics of the batch norms, which gives
            usable ranges and says nothing about accuracy; the report calls them *generated*.
        out: New folder for all forms and the report.
        labels: Class index of each sample, where they do not come with the data.
        effort: ``fast``, ``balanced`` or ``best``; without effect with ``max_drop``.
        max_drop: The most that accuracy may fall, as a share (0.01 for one point); without labels,
            the most of the answers that may change. Efforts are tried from the fastest, then the
            most sensitive layers stay in float, then a few minutes of self-distillation follow; the
            first that holds is exported, and the report says which.
        example_inputs: One set of inputs, needed with ``data=None``.
        name: Of the network, in reports and on the device.
        overwrite: Replace the folder if it is one of ours.
        gate: How far from the float network any form may be.
        progress: Called with a sentence before each part of the work.

    Returns:
        What was found out; it prints as a table. ``report.artifact`` goes to the device.

    Raises:
        VerificationError: Nothing stayed within ``max_drop``, or a form computes something else.
        CalibrationError: There is no data, or a batch cannot be used.
        TraceError: torch.fx cannot follow the network.
        OutputExistsError: The folder exists.
        TorchedgeError: A step refused the network, by name.

    Example:
        >>> import tempfile, torch, torchedge
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = torchedge.compress(net, "onnx-cpu", torch.rand(64, 8), f"{folder}/out")
        >>> report.census.integer_share
        1.0
    """
    place, network = target_of(target), unwrapped(model)
    require(max_drop is None or 0 <= max_drop < 1, "max_drop", max_drop, "give a share, 0.01")
    require_free(Path(out), overwrite=overwrite)
    if data is None:
        progress("making inputs from the statistics of the batch norms")
        found = generated(network, example_inputs)
    else:
        found = split(network, data, labels, example_inputs)
    if place.runs_float:
        made, notes = network, found.notes
    else:
        attempt = _quantized(network, place, found, effort, max_drop, progress)
        made, notes = attempt.model, (*found.notes, _told(attempt, found))
    with temporary_folder("compress") as folder:
        saved = CompressedModel(
            module=made,
            example_inputs=found.example,
            samples=found.check.inputs,
            labels=found.check.labels,
            calibration=found.calibration.inputs,
            scheme=None if place.runs_float else place.scheme,
            name=name,
        ).save(folder / "torch")
        return deliver(
            saved, place, out, overwrite=overwrite, gate=gate, progress=progress, notes=notes
        )


def _told(attempt: Attempt, data: SplitData) -> str:
    kind = "accuracy" if data.check.labels is not None else "agreement with the float network"
    return f"Quantised by {attempt.taken}; {kind} fell by {attempt.drop:.2%} on {data.checked}"


def _quantized(
    network: nn.Module,
    place: Target,
    found: SplitData,
    effort: Effort,
    max_drop: float | None,
    progress: Callable[[str], None],
) -> Attempt:
    if max_drop is not None:
        return quantized_within(
            network, place.scheme, found.calibration, found.check, max_drop, progress
        )
    progress(f"quantising by effort '{effort}'")
    made = quantize(network, place.scheme, found.calibration.batches, effort=effort)
    drop = accuracy_drop(
        found.check.answers(made), found.check.answers(network), found.check.labels
    )
    return Attempt(model=made, taken=f"effort '{effort}'", drop=drop)
