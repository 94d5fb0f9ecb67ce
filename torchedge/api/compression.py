"""From a trained network to a verified artefact in one call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from torchedge.api.accuracy_control import (
    Attempt,
    Samples,
    accuracy_drop,
    labels_as_array,
    quantized_within,
)
from torchedge.api.artifacts import first_sample
from torchedge.arguments import require
from torchedge.batches.examples import Examples, example_tensors
from torchedge.bench.gate import GATE, Gate
from torchedge.compressed import CompressedModel
from torchedge.delivery import deliver, silent
from torchedge.exporting.plugins import target_of
from torchedge.exporting.target import Target
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.quantization.generated_data import generated_from_batchnorms
from torchedge.quantization.recovery.quantize import Effort, quantize
from torchedge.report.report import Report
from torchedge.saving.given import labels_of, samples_of
from torchedge.writing import require_free, temporary_folder

__all__ = ["compress"]

_CHECKED = 4  # one of so many samples is compared on, and not calibrated with
_FEWEST = 8


@final
@dataclass(frozen=True, kw_only=True)
class _Data:
    """Samples in two parts, and what must be said of them."""

    example: tuple[Tensor, ...]
    calibration: Samples
    check: Samples
    notes: tuple[str, ...]


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
    found = _data(network, data, labels, example_inputs)
    if place.runs_float:
        made, notes = network, found.notes
    else:
        attempt = _quantized(network, place, found, effort, max_drop, progress)
        made, notes = attempt.model, (*found.notes, _told(attempt, found.check))
    with temporary_folder("compress") as folder:
        saved = CompressedModel(
            module=made,
            example_inputs=found.example,
            samples=found.check.inputs,
            labels=None if found.check.labels is None else torch.from_numpy(found.check.labels),
            calibration=found.calibration.inputs,
            scheme=None if place.runs_float else place.scheme,
            name=name,
        ).save(folder / "torch")
        return deliver(
            saved, place, out, overwrite=overwrite, gate=gate, progress=progress, notes=notes
        )


def _told(attempt: Attempt, check: Samples) -> str:
    kind = "accuracy" if check.labels is not None else "agreement with the float network"
    return (
        f"Quantised by {attempt.taken}; {kind} fell by {attempt.drop:.2%} on "
        f"{len(check.inputs[0]):,} samples that were held out"
    )


def _quantized(
    network: nn.Module,
    place: Target,
    found: _Data,
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


def _data(
    network: nn.Module, data: object, labels: object, example_inputs: Examples | None
) -> _Data:
    if data is None:
        return _generated(network, example_inputs)
    kept = list(data) if isinstance(data, Iterator) else data  # it is read twice
    example = (
        first_sample(network, kept)
        if example_inputs is None
        else example_tensors(network, example_inputs)
    )
    inputs, found = samples_of("data", network, kept, example)
    known = found if labels is None else labels_of(labels)
    require(known is None or isinstance(known, Tensor), "labels", labels, "give class indices")
    return _in_two(example, inputs, known if isinstance(known, Tensor) else None, ())


def _generated(network: nn.Module, example_inputs: Examples | None) -> _Data:
    require(
        example_inputs is not None,
        "example_inputs",
        example_inputs,
        "without data give one input, so that its shape is known",
    )
    examples = example_tensors(network, example_inputs)
    way_out = "give data: it is made for networks with one input only"
    require(len(examples) == 1, "the number of inputs", len(examples), way_out)
    made = generated_from_batchnorms(network, examples[0])
    note = (
        f"Calibrated and compared on {len(made)} generated inputs, made from the statistics of the "
        "batch norms: they say nothing about accuracy"
    )
    return _in_two((examples[0][:1],), (made,), None, (note,))


def _in_two(
    example: tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    labels: Tensor | None,
    notes: tuple[str, ...],
) -> _Data:
    """Every fourth sample apart; of a few, all in both parts."""
    count = len(inputs[0])
    if labels is not None:
        way_out = f"give one for each of {count} samples"
        require(len(labels) == count, "the number of labels", len(labels), way_out)
    held = torch.arange(count) % _CHECKED == _CHECKED - 1
    parts = [~held, held]
    if count < _FEWEST:
        parts = [torch.ones(count, dtype=torch.bool)] * 2
        notes = (*notes, f"The same {count} samples calibrated and were compared on")
    first, second = (
        Samples(
            inputs=tuple(x[part] for x in inputs),
            labels=labels_as_array(None if labels is None else labels[part]),
        )
        for part in parts
    )
    return _Data(example=example, calibration=first, check=second, notes=notes)
