"""Looking at calibration data before it is trusted: too few, wrong scale, broken, one-sided."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from torchedge.arguments import require
from torchedge.errors import CalibrationError
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import single_inputs
from torchedge.quantization.diagnostics.first_norm import FirstNorm
from torchedge.quantization.diagnostics.samples import SampleSet, near_copies

__all__ = ["Finding", "Severity", "lint_calibration"]

Severity = Literal["error", "warning", "note"]

_FEWEST, _NNCF_DEFAULT, _TENSORRT_ADVICE = 100, 300, 500
_LARGEST_BYTE, _SMALL_NUMBER = 255, 15
_MANY_REPEATED = 0.05
_MOST_UNEQUAL = 10.0
_FARTHEST_MEAN = 1.0  # standard deviations
_SPREADS = (0.5, 2.0)
_NAMED = 5  # places that a finding lists


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is suspicious about a calibration set.

    Args:
        severity: ``error`` spoils the ranges, ``warning`` probably does, ``note`` is advice.
        check: What was looked at, in a word or two.
        fact: What was found, with numbers.
        remedy: What to do.
    """

    severity: Severity
    check: str
    fact: str
    remedy: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.severity}: {self.fact}. {self.remedy}."


@torch.no_grad()
@kinds_checked()
def lint_calibration(
    batches: object,
    *,
    labels: Tensor | None = None,
    classes: int | None = None,
    model: nn.Module | None = None,
    expected_range: tuple[float, float] | None = None,
    near_duplicates: bool = False,
) -> tuple[Finding, ...]:
    """What is suspicious about a calibration set, in numbers, with a way out.

    Samples are counted and hashed one batch at a time. With a model that has batch norms, the first
    one's statistics tell what the network saw in training: what it gets from these data should have
    their mean and spread. That finds a forgotten or doubled normalisation.

    Args:
        batches: What ``calibrate`` would be given.
        labels: Class index of each sample.
        classes: How many there are; by default the largest label and one.
        model: The network, prepared or float.
        expected_range: Smallest and largest value that the network's input can have.
        near_duplicates: Look for samples that are nearly alike, too; compares all pairs.

    Returns:
        Findings, errors first; none is a good sign.

    Raises:
        CalibrationError: There is no batch, one does not fit the model, or labels and samples
            differ in number.

    Example:
        >>> x = torch.rand(600, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> lint_calibration(x.split(100))
        ()
        >>> [(finding.severity, finding.check) for finding in lint_calibration([x[:50], x[:50]])]
        [('warning', 'repeated samples'), ('note', 'number of samples')]
    """
    way_out = "give the smallest and the largest value, (0.0, 1.0)"
    pair = isinstance(expected_range, tuple | list) and len(expected_range) == 2
    require(expected_range is None or pair, "expected_range", expected_range, way_out)
    seen = SampleSet(keep_thumbnails=near_duplicates)
    norm = None if model is None else FirstNorm(model)
    network = nn.Identity() if model is None else model
    for batch in single_inputs(network, batches, finite=False):
        if seen.add(batch) and norm is not None:
            norm.add(batch)
    deviation = None if norm is None else norm.deviation()
    findings = [
        *_about_number(seen),
        *_about_shapes(seen),
        *_about_copies(seen),
        *_about_broken_samples(seen),
        *_about_values(seen, expected_range, known_scale=deviation is not None),
        *([] if deviation is None else _about_norm(*deviation)),
        *([] if labels is None else _about_labels(torch.as_tensor(labels), seen.samples, classes)),
    ]
    order = ("error", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _about_number(seen: SampleSet) -> list[Finding]:
    number = seen.samples
    if number >= _TENSORRT_ADVICE:
        return []
    why = f"TensorRT advises {_TENSORRT_ADVICE} or more"
    if number < _NNCF_DEFAULT:
        why = f"NNCF takes {_NNCF_DEFAULT} by default, {why}"
    finding = Finding(
        severity="warning" if number < _FEWEST else "note",
        check="number of samples",
        fact=f"there are {number:,} samples; {why}",
        remedy=f"Give {_NNCF_DEFAULT} to {_TENSORRT_ADVICE} samples as the device will see them",
    )
    return [finding]


def _about_shapes(seen: SampleSet) -> list[Finding]:
    if not seen.other_shapes:
        return []
    number, shape = next(iter(seen.other_shapes.items()))
    finding = Finding(
        severity="error",
        check="shapes",
        fact=f"the samples of batch {number} have the shape {shape}, those of batch 0 "
        f"{seen.shape}; {len(seen.other_shapes):,} batches differ",
        remedy="Resize or crop all samples as the device does",
    )
    return [finding]


def _about_copies(seen: SampleSet) -> list[Finding]:
    findings = []
    if repeated := seen.repeated:
        share = repeated / seen.samples
        findings.append(
            Finding(
                severity="warning" if share > _MANY_REPEATED else "note",
                check="repeated samples",
                fact=f"{repeated:,} of {seen.samples:,} samples ({share:.1%}) repeat an earlier "
                f"one byte by byte, one of them {seen.most_repeated:,} times in all",
                remedy="Draw samples without replacement; a copy adds nothing to a range",
            )
        )
    if pairs := near_copies(seen):
        findings.append(
            Finding(
                severity="note",
                check="nearly equal samples",
                fact=f"{len(pairs):,} pairs of samples look alike at 8×8, for example {pairs[0]}",
                remedy="Take samples that are farther apart, such as frames of other recordings",
            )
        )
    return findings


def _about_broken_samples(seen: SampleSet) -> list[Finding]:
    findings = []
    if seen.not_finite:
        findings.append(
            Finding(
                severity="error",
                check="NaN and infinity",
                fact=f"{len(seen.not_finite):,} samples hold NaN or infinity: "
                f"{_listed(seen.not_finite)}",
                remedy="Leave them out, and look where they come from",
            )
        )
    if seen.constant:
        findings.append(
            Finding(
                severity="warning",
                check="constant samples",
                fact=f"{len(seen.constant):,} samples have the same value everywhere: "
                f"{_listed(seen.constant)}",
                remedy="Leave them out, unless the device sees such inputs",
            )
        )
    if still := seen.still_channels:
        findings.append(
            Finding(
                severity="warning",
                check="constant channels",
                fact=f"{len(still):,} channels have one value in all samples: {_listed(still)}",
                remedy="Check how the channels are read and stacked",
            )
        )
    return findings


def _listed(places: list[int]) -> str:
    more = f" and {len(places) - _NAMED:,} more" if len(places) > _NAMED else ""
    return ", ".join(str(place) for place in places[:_NAMED]) + more


def _about_values(
    seen: SampleSet, expected: tuple[float, float] | None, *, known_scale: bool
) -> list[Finding]:
    if expected is not None and (seen.low < expected[0] or seen.high > expected[1]):
        return [
            Finding(
                severity="error",
                check="range",
                fact=f"values lie in {seen.low:.4g} … {seen.high:.4g}, outside of the expected "
                f"{expected[0]:.4g} … {expected[1]:.4g}",
                remedy="Prepare the samples as in training, or correct the expected range",
            )
        ]
    bytes_like = seen.whole_numbers and seen.low >= 0 and seen.high > _SMALL_NUMBER
    if expected is not None or known_scale or not bytes_like or seen.high > _LARGEST_BYTE:
        return []
    return [
        Finding(
            severity="warning",
            check="range",
            fact=f"the values are whole numbers from {seen.low:.0f} to {seen.high:.0f}, like the "
            "bytes of a picture",
            remedy="Normalise them as in training, or give expected_range or the model, if it was "
            "trained on bytes",
        )
    ]


def _about_norm(distance: float, spread: float) -> list[Finding]:
    if distance <= _FARTHEST_MEAN and _SPREADS[0] <= spread <= _SPREADS[1]:
        return []
    return [
        Finding(
            severity="error",
            check="normalisation",
            fact=f"at the first batch norm the channels' means are {distance:.3g} deviations away "
            f"from those of training, and their deviation is {spread:.3g} times as large (medians)",
            remedy="Scale and shift the samples exactly as in training: the factor from bytes to "
            "[0, 1], mean and deviation, the order of colours",
        )
    ]


def _about_labels(labels: Tensor, samples: int, classes: int | None) -> list[Finding]:
    if labels.numel() != samples:
        raise CalibrationError(
            f"there are {labels.numel():,} labels for {samples:,} samples; give one for each."
        )
    counts = labels.flatten().long().bincount(minlength=classes or 0)
    missing = (counts == 0).nonzero().flatten().tolist()
    findings = []
    if missing:
        findings.append(
            Finding(
                severity="warning",
                check="missing classes",
                fact=f"{len(missing):,} of {len(counts):,} classes have no sample: "
                f"{_listed(missing)}",
                remedy="Draw samples of every class",
            )
        )
    present = counts[counts > 0]
    ratio = float(present.max() / present.min())
    if ratio > _MOST_UNEQUAL:
        findings.append(
            Finding(
                severity="note",
                check="balance of classes",
                fact=f"class {int(counts.argmax())} has {int(present.max()):,} samples, "
                f"{ratio:.0f} times as many as the rarest",
                remedy="Draw about equally many of each, so that rare classes count in the ranges",
            )
        )
    return findings
