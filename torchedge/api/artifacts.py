"""Saving, exporting and verifying by the names of ``import torchedge``."""

import json
from pathlib import Path

from torch import nn

from torchedge.api.samples import first_sample, read_again
from torchedge.bench.gate import GATE, Gate
from torchedge.compressed import CompressedModel
from torchedge.delivery import REPORT_FILE, deliver
from torchedge.errors import ArtifactError, SchemeError, UsageError
from torchedge.exporting.artifact import Artifact, load_artifact
from torchedge.exporting.plugins import target as target_named
from torchedge.exporting.plugins import target_names, target_of
from torchedge.exporting.target import Target, configured
from torchedge.kinds import kinds_checked
from torchedge.quantization.origin import origin_of
from torchedge.reading.files import read_bounded
from torchedge.report.report import Report
from torchedge.report.verify import verify as verify_forms
from torchedge.writing import temporary_folder

__all__ = ["export", "load", "save", "target", "targets", "verify"]

_MOST_REPORT_BYTES = 2**24


@kinds_checked("target")
def export(  # noqa: PLR0913 - what the command line has as options
    artifact_or_model: Artifact | nn.Module | Path | str,
    target: Target | str,
    out: Path | str,
    *,
    samples: object = None,
    labels: object = None,
    verify: bool = True,
    overwrite: bool = False,
    gate: Gate = GATE,
) -> Report:
    """Take a saved artefact, or a network, to a device: write every form, run it, and report.

    Args:
        artifact_or_model: What :func:`torchedge.save` returned, its folder, or a network.
        target: Where it will run, or the name of it; :func:`torchedge.targets` lists them.
        out: New folder. It appears only when every step has succeeded, with one folder for each
            form, ``report.md`` and ``report.json``.
        samples: Real data to compare on, for a network; an artefact has its own.
        labels: Class index of each sample.
        verify: Open and run every form; without it the report has no rows.
        overwrite: Replace the folder if it is one of ours and does not hold the source.
        gate: How far from the float network it may be: 90 % of the answers, or 20 dB.

    Returns:
        What was found out; ``report.artifact`` is what goes to the device.

    Raises:
        SchemeError: It was made for another device.
        VerificationError: A form computes something else, or is too far from the float network.
        UsageError: A network came without samples.
        TorchedgeError: A step refused it, by name.

    Example:
        >>> import tempfile, torch, torchedge
        >>> net, x = nn.Sequential(nn.Linear(8, 4)).eval(), torch.rand(64, 8)
        >>> quantized = torchedge.quantize(net, "onnx-cpu", x, effort="fast")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = torchedge.export(quantized, "onnx-cpu", f"{folder}/out", samples=x)
        >>> report.census.integer_share
        1.0
    """
    if not isinstance(artifact_or_model, nn.Module):
        return deliver(
            artifact_or_model, target, out, verified=verify, overwrite=overwrite, gate=gate
        )
    _require_numbers_of(artifact_or_model, target_of(target))
    if samples is None:
        raise UsageError(
            "a network is exported with real data to compare on: give samples=…, some 50 to 500."
        )
    with temporary_folder("export") as folder:
        saved = save(artifact_or_model, folder / "torch", samples=samples, labels=labels)
        return deliver(saved, target, out, verified=verify, overwrite=overwrite, gate=gate)


def _require_numbers_of(model: nn.Module, place: Target) -> None:
    """Refuse a float network where the device runs integers that nothing chooses on the way."""
    if origin_of(model) is None and not (place.runs_float or place.calibrates):
        raise SchemeError(
            f"the network is in float and {place.name} runs integers; call torchedge.compress, or "
            f"torchedge.quantize(model, '{place.name}', data) first."
        )


@kinds_checked()
def save(
    model: nn.Module,
    out: Path | str,
    *,
    samples: object,
    labels: object = None,
    calibration: object = (),
    name: str = "model",
    overwrite: bool = False,
) -> Artifact:
    """Save a network with the data that every later form is compared on.

    Args:
        model: A float network, or one from :func:`torchedge.quantize` or
            :func:`torchedge.prepare_qat`, which carries the numbers of its device.
        out: New folder.
        samples: Real inputs: a tensor with samples along its first axis, a ``DataLoader``, a
            folder; labels that come with them are kept.
        labels: Class index of each sample, where they do not come with them.
        calibration: Further inputs, for devices that choose ranges themselves.
        name: Of the network, in reports and on the device.
        overwrite: Replace the folder if it is one of ours.

    Returns:
        The artefact, to be exported.

    Raises:
        TorchedgeError: The network cannot be captured, or data does not fit it.

    Example:
        >>> import tempfile, torch, torchedge
        >>> net = nn.Sequential(nn.Linear(3, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torchedge.save(net, f"{folder}/mine", samples=torch.rand(4, 3)).format
        'torch'
    """
    origin, samples = origin_of(model), read_again(samples)
    given = CompressedModel(
        module=model,
        example_inputs=first_sample(model, samples),
        samples=samples,
        scheme=None if origin is None else origin.scheme,
        labels=labels,
        calibration=calibration,
        name=name,
    )
    return given.save(Path(out), overwrite=overwrite)


def load(path: Path | str) -> Artifact:
    """Open a folder that was saved or exported, and check that nothing in it has changed.

    Args:
        path: The folder of one form.

    Raises:
        ArtifactError: There is none, or a file is damaged.

    Example:
        >>> import tempfile, torch, torchedge
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net = nn.Sequential(nn.Linear(3, 2))
        ...     _ = torchedge.save(net, f"{folder}/mine", samples=torch.rand(4, 3))
        ...     torchedge.load(f"{folder}/mine").name
        'model'
    """
    return load_artifact(path)


@kinds_checked()
def verify(out: Path | str, *, gate: Gate = GATE) -> Report:
    """Run every form in a folder that was exported before, and report anew.

    Nothing is written; the figures of the report beside the forms are not read.

    Args:
        out: The folder that :func:`torchedge.export` or ``torchedge export`` wrote.
        gate: How far from the float network it may be.

    Raises:
        VerificationError: A form computes something else than its network.
        ArtifactError: It is no such folder, or a file is damaged.

    Example:
        >>> import tempfile, torch, torchedge
        >>> net, x = nn.Sequential(nn.Linear(8, 4)).eval(), torch.rand(64, 8)
        >>> quantized = torchedge.quantize(net, "onnx-cpu", x, effort="fast")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = torchedge.export(quantized, "onnx-cpu", f"{folder}/out", samples=x)
        ...     len(torchedge.verify(f"{folder}/out").stages)
        3
    """
    folder = Path(out)
    place = _target_of_report(folder)
    formats = [place.steps[0].consumes, *(step.produces for step in place.steps)]
    found = [load_artifact(folder / name) for name in formats if (folder / name).is_dir()]
    if len(found) < 2:
        raise ArtifactError(
            f"'{folder}' holds {len(found)} of the forms {', '.join(formats)}; export it again."
        )
    return verify_forms(found[0], found[1:], place, gate)


def _target_of_report(folder: Path) -> Target:
    path = folder / REPORT_FILE
    if not path.is_file():
        raise ArtifactError(
            f"'{folder}' has no {REPORT_FILE}; give a folder that torchedge export wrote."
        )
    try:
        told = json.loads(read_bounded(path, _MOST_REPORT_BYTES))
    except ValueError as error:
        raise ArtifactError(f"'{path}' is no JSON; export it again.") from error
    name = told.get("target") if isinstance(told, dict) else None
    if not isinstance(name, str):
        raise ArtifactError(f"'{path}' names no target; export it again.")
    return target_named(name)


def target(name: str, *, precision: str | None = None, jetpack: str | None = None) -> Target:
    """The device of a name: its facts, its numbers, and the way there.

    Args:
        name: See :func:`torchedge.targets`.
        precision: ``int8``, ``fp16``, ``float16``, …; the best of the device if left out.
        jetpack: Release on a Jetson, for example ``5.1``; the newest one if left out.

    Raises:
        UnknownNameError: There is no such target, or it has no such variant.

    Example:
        >>> import torchedge
        >>> torchedge.target("raspberry-pi-4", precision="float16").summary
        'TFLite float16, run by LiteRT'
    """
    return configured(target_named(name), jetpack=jetpack, precision=precision)


def targets() -> tuple[str, ...]:
    """The names of all devices, sorted; second names are among them.

    Example:
        >>> import torchedge
        >>> "jetson" in torchedge.targets()
        True
    """
    return target_names()
