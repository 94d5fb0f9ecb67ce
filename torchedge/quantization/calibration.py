"""From a stream of values to the range that quantisation should keep.

A :class:`Histogram` takes constant memory however many batches are added: its range grows by whole
bins, so what was counted before stays exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchedge.errors import CalibrationError
from torchedge.scheme import QuantSpec

__all__ = ["BINS", "Histogram", "RangeRule", "entropy", "entropy_threshold", "minmax", "observe"]

BINS = 2048
_MOST_BINS = 64 * BINS
_EQUAL_DIVERGENCES = 1e-12  # rounding of the sums below; smaller differences are no difference


@final
@dataclass(frozen=True)
class Histogram:
    """Counts of ``|x|`` in bins of equal width from 0, and the exact extremes of ``x``.

    Args:
        counts: How many absolute values fell into each bin.
        low: Smallest value seen.
        high: Largest value seen.
        bin_width: Width of a bin, in units of ``x``.
    """

    counts: Int[Tensor, " bins"]
    low: float
    high: float
    bin_width: float


RangeRule: TypeAlias = Callable[[Histogram, QuantSpec], tuple[float, float]]


def observe(histogram: Histogram | None, values: Tensor) -> Histogram:
    """The histogram with one more batch of values in it.

    The first batch fixes the bin width (2,048 bins up to its largest magnitude); a later, wider
    batch appends bins of the same width. Where that would take more than 131,072 bins, pairs of
    bins are joined first, so memory stays bounded.

    Args:
        histogram: What was counted so far, or ``None`` at the start.
        values: The new batch, of any shape.

    Raises:
        CalibrationError: The batch is empty or holds NaN or infinity.

    Example:
        >>> histogram = observe(None, torch.tensor([-1.0, 0.5]))
        >>> histogram = observe(histogram, torch.tensor([2.0]))
        >>> int(histogram.counts.sum()), len(histogram.counts), histogram.low, histogram.high
        (3, 4096, -1.0, 2.0)
    """
    flat = values.detach().reshape(-1).double()
    _require_usable(flat)
    low, high = float(flat.amin()), float(flat.amax())
    magnitude = max(-low, high)
    before = histogram or Histogram(torch.zeros(BINS, dtype=torch.int64), low, high, 0.0)
    width = before.bin_width or magnitude / BINS
    counts, width = _joined_to_fit(before.counts, width, magnitude)
    bins = max(len(counts), math.ceil(magnitude / width) if width else 0)
    indices = (flat.abs() / width).long().clamp(max=bins - 1) if width else torch.zeros_like(flat)
    added = torch.bincount(indices.long(), minlength=bins)
    added[: len(counts)] += counts
    return Histogram(added, min(low, before.low), max(high, before.high), width)


def _require_usable(flat: Tensor) -> None:
    if flat.numel() == 0:
        raise CalibrationError("a calibration batch is empty; give at least one sample.")
    unusable = int((~torch.isfinite(flat)).sum())
    if unusable:
        raise CalibrationError(
            f"{unusable:,} of {flat.numel():,} calibration values are NaN or infinite; "
            "check the data and the weights."
        )


def _joined_to_fit(counts: Tensor, width: float, magnitude: float) -> tuple[Tensor, float]:
    while width > 0 and magnitude / width > _MOST_BINS:
        padded = torch.nn.functional.pad(counts, (0, len(counts) % 2))
        counts, width = padded.view(-1, 2).sum(1), 2 * width
    return counts, width


def minmax(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """Keep every value that was seen.

    Example:
        >>> minmax(observe(None, torch.tensor([-1.0, 3.0])), QuantSpec())
        (-1.0, 3.0)
    """
    return histogram.low, histogram.high


def entropy(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """Clip where the quantised distribution loses the least information about the original.

    The threshold of :func:`entropy_threshold` with ``2^(bits - 1)`` levels (``2^bits`` for values
    of one sign on an asymmetric grid), cut to the range that was seen.

    Example:
        >>> bell = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
        >>> low, high = entropy(observe(None, torch.cat([bell, torch.tensor([40.0])])), QuantSpec())
        >>> high < 10
        True
    """
    one_sided = not spec.symmetric and (histogram.low >= 0 or histogram.high <= 0)
    levels = 2**spec.bits if one_sided else 2 ** (spec.bits - 1)
    threshold = entropy_threshold(histogram.counts, levels) * histogram.bin_width
    if histogram.bin_width == 0:
        return histogram.low, histogram.high
    return max(histogram.low, -threshold), min(histogram.high, threshold)


def entropy_threshold(counts: Int[Tensor, " bins"], levels: int) -> int:
    """Number of bins to keep so that ``KL(P ‖ Q)`` is smallest.

    NVIDIA's search (Migacz 2017, GTC S7310): the first bin is replaced by the second, which removes
    the spike at zero; for each candidate ``i`` from ``levels`` to all bins, ``P`` is the first
    ``i`` bins with the tail added to the last one, and ``Q`` spreads each of ``levels`` runs of
    bins evenly over its non-empty bins. The last of equal minima wins.

    Args:
        counts: Histogram of magnitudes.
        levels: Magnitudes that the integers can tell apart, 128 for int8.

    Returns:
        The number of bins below the threshold.

    Example:
        >>> entropy_threshold(torch.ones(512, dtype=torch.int64), 128)
        512
    """
    bins = counts.double()
    if len(bins) <= max(levels, 1):
        return len(bins)
    bins[0] = bins[1]
    if float(bins.sum()) == 0:
        return len(bins)
    candidates = torch.arange(levels, len(bins) + 1)
    divergences = torch.cat([_divergences(bins, kept, levels) for kept in candidates.split(1024)])
    smallest = divergences <= divergences.min() + _EQUAL_DIVERGENCES
    return int(candidates[smallest][-1])


def _divergences(
    bins: Float[Tensor, " bins"], kept: Int[Tensor, " candidates"], levels: int
) -> Float[Tensor, " candidates"]:
    """``KL(P ‖ Q)`` for each number of kept bins, from running sums.

    ``Q`` is constant over the non-empty bins of a level, so ``Σ P log Q`` is a sum over levels and
    ``Σ P log P`` a running sum over bins: ``O(levels)`` a candidate.
    """
    mass_below, filled_below = _running_sum(bins), _running_sum((bins > 0).double())
    edges = (torch.arange(levels + 1) * kept[:, None] + levels - 1) // levels
    mass = mass_below[edges].diff(dim=1)
    average = mass / filled_below[edges].diff(dim=1).clamp(min=1)
    total, inside = mass_below[-1], mass_below[kept]
    tail, last = total - inside, bins[kept - 1]
    log_p = _running_sum(torch.xlogy(bins, bins))[kept - 1] + torch.xlogy(last + tail, last + tail)
    log_q = torch.xlogy(mass, average).sum(1) + torch.xlogy(tail, average[:, -1])
    divergences = (log_p - log_q) / total - torch.log(total) + torch.log(inside)
    impossible = (inside == 0) | ((tail > 0) & (last == 0))
    return torch.where(impossible, torch.inf, divergences)


def _running_sum(values: Float[Tensor, " n"]) -> Float[Tensor, " n_and_one"]:
    return torch.cat([values.new_zeros(1), values.cumsum(0)])
