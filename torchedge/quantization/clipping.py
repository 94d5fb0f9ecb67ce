"""What a rule's range does to the values that it was chosen for, and what there is to say of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from torchedge.arguments import require
from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import (
    Histogram,
    RangeRule,
    entropy,
    entropy_range,
    most_clipped,
)
from torchedge.quantization.functional import affine_params
from torchedge.scheme import QuantSpec

__all__ = ["ChosenRange", "chosen_range", "clipped_share", "notes_on"]

_NAMED = 5  # tensors in one sentence


@final
@dataclass(frozen=True, kw_only=True)
class ChosenRange:
    """A range with what it costs.

    Args:
        low: Low end.
        high: High end.
        spec: The grid that the range is for.
        clipped_share: See :func:`clipped_share`.
        refused_share: What the entropy rule would have clipped where it was refused; else 0.
    """

    low: float
    high: float
    spec: QuantSpec
    clipped_share: float
    refused_share: float = 0.0


def chosen_range(histogram: Histogram, spec: QuantSpec, rule: RangeRule) -> ChosenRange:
    """What ``rule`` chooses, and what that clips; without a warning.

    Raises:
        CalibrationError: The rule gave something that is no range.

    Example:
        >>> from torchedge.quantization.calibration import observe
        >>> seen = observe(None, torch.linspace(0, 1, 1000))
        >>> round(chosen_range(seen, QuantSpec(), lambda *_: (0.0, 0.5)).clipped_share, 2)
        0.5
    """
    refused_share = 0.0
    if rule is entropy:  # asked directly, so that the warning can name the tensor
        found = entropy_range(histogram, spec)
        low, high, refused_share = found.low, found.high, found.refused_share
    else:
        ends = rule(histogram, spec)
        pair = isinstance(ends, tuple | list) and len(ends) == 2
        what, way_out = "what the rule gave", "a rule returns two finite numbers, low and high"
        require(pair, what, ends, way_out, CalibrationError)
        low, high = (float(end) for end in ends)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise CalibrationError(
            f"the rule gave the range [{low}, {high}] for values in [{histogram.low}, "
            f"{histogram.high}]; a rule returns two finite numbers, the smaller one first."
        )
    return ChosenRange(
        low=low,
        high=high,
        spec=spec,
        clipped_share=clipped_share(histogram, low, high, spec),
        refused_share=refused_share,
    )


def clipped_share(histogram: Histogram, low: float, high: float, spec: QuantSpec) -> float:
    """Share of the values, zeros left out, that lie more than half a step beyond the grid.

    The grid is that of :func:`~torchedge.quantization.functional.affine_params`; a value is counted
    where its whole bin is beyond, and zeros are those of the first bin at or above zero.

    Example:
        >>> from torchedge.quantization.calibration import observe
        >>> seen = observe(None, torch.cat([torch.zeros(900), torch.linspace(0, 1, 100)]))
        >>> round(clipped_share(seen, 0.0, 0.75, QuantSpec()), 2)
        0.25
    """
    if histogram.bin_width == 0:
        return 0.0
    scale, zero_point = (
        float(number) for number in affine_params(torch.tensor(low), torch.tensor(high), spec)
    )
    below, width = histogram.bins_below_zero, histogram.bin_width
    lowest = (spec.quant_min - zero_point - 0.5) * scale
    highest = (spec.quant_max - zero_point + 0.5) * scale
    first = max(below + math.floor(lowest / width), 0)
    last = max(below + math.ceil(highest / width), 0)
    clipped = int(histogram.counts[:first].sum()) + int(histogram.counts[last:].sum())
    zeros = int(histogram.counts[below]) if below < len(histogram.counts) else 0
    others = int(histogram.counts.sum()) - zeros
    return clipped / others if others else 0.0


def notes_on(chosen: Mapping[str, ChosenRange]) -> tuple[str, ...]:
    """Sentences about ranges by tensor: where the entropy rule was refused, and what is clipped.

    Clipping is told beyond :func:`~torchedge.quantization.calibration.most_clipped`.

    Example:
        >>> notes_on({"x": ChosenRange(low=0, high=1, spec=QuantSpec(), clipped_share=0.4)})
        ("the range clips more than an integer's share of the values that are not zero at 'x': 40.0 %; give more data, or data nearer to the network's use; of the rules, minmax and mse clip least.",)
    """  # noqa: E501 - a line that is printed
    refused = {n: c.refused_share for n, c in chosen.items() if c.refused_share}
    clipped = {
        n: c.clipped_share for n, c in chosen.items() if c.clipped_share > most_clipped(c.spec)
    }
    notes = []
    if refused:
        notes.append(
            "the squared error decides where the entropy rule would clip the body of the values "
            f"and not a tail: at {_listed(refused)}."
        )
    if clipped:
        notes.append(
            "the range clips more than an integer's share of the values that are not zero at "
            f"{_listed(clipped)}; give more data, or data nearer to the network's use; of the "
            "rules, minmax and mse clip least."
        )
    return tuple(notes)


def _listed(shares: Mapping[str, float]) -> str:
    """The largest shares first, each with its tensor."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    named = ", ".join(f"'{name}': {100 * share:.1f} %" for name, share in ordered[:_NAMED])
    more = len(ordered) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
