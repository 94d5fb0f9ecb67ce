"""Values counted in bins, batch by batch, in constant memory.

A :class:`Histogram` takes constant memory however many batches are added: its range grows by whole
bins in both directions, so what was counted before stays exact. A moving average depends on the
order of the batches, which a histogram forgets:
:class:`~torchedge.quantization.modules.FakeQuantize` keeps one while it trains.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from torchedge.errors import CalibrationError
from torchedge.scheme import QuantSpec

__all__ = ["BINS", "Histogram", "RangeRule", "magnitudes", "observe"]

BINS = 2048
_MOST_BINS = 64 * BINS
_VALUES_AT_ONCE = 2**18  # 2 MiB as float64: stays in the cache
_SMALLEST_MAGNITUDE = 1e-300  # smaller float64 values have no normal bin width

# A value on an edge belongs to the bin nearer to zero: positions are shrunk by this much. Position
# x / width of two float32 numbers below 2^17 is an integer or at least 2^-41 of itself away from
# one, and float64 rounds it by less than 2^-51 of itself, so no float32 value changes its bin.
_TOWARDS_ZERO = 1 - 2**-45


@final
@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of ``x`` in bins of equal width, with zero on an edge, and the exact extremes.

    A value on an edge belongs to the bin nearer to zero, and zero itself to the first bin above.

    Args:
        counts: How many values fell into each bin.
        bins_below_zero: How many of the bins hold negative values; they come first.
        bin_width: Width of a bin, in units of ``x``; 0 as long as all values were 0.
        low: Smallest value seen.
        high: Largest value seen.
    """

    counts: Int[Tensor, " bins"]
    bins_below_zero: int
    bin_width: float
    low: float
    high: float


RangeRule: TypeAlias = Callable[[Histogram, QuantSpec], tuple[float, float]]


def observe(histogram: Histogram | None, values: Tensor) -> Histogram:
    """The histogram with one more batch of values in it.

    The first batch that is not all zero fixes the bin width (2,048 bins up to its largest
    magnitude); a later, wider batch appends bins of the same width at either end. Where that would
    take more than 131,072 bins on one side of zero, pairs of bins are joined first, so memory stays
    bounded. Once the width is fixed, the counts do not depend on how values are split into batches.

    Args:
        histogram: What was counted so far, or ``None`` at the start.
        values: The new batch, of any shape and any real type.

    Raises:
        CalibrationError: The batch is empty or holds NaN or infinity.

    Example:
        >>> histogram = observe(None, torch.tensor([-1.0, 0.5]))
        >>> histogram = observe(histogram, torch.tensor([2.0]))
        >>> int(histogram.counts.sum()), len(histogram.counts), histogram.low, histogram.high
        (3, 6144, -1.0, 2.0)
    """
    flat = _in_memory_order(values.detach())
    low, high = _extremes(flat)
    grown = _grown(histogram or _nothing_seen(), low, high)
    return replace(grown, counts=grown.counts + _counted(flat, grown))


def _in_memory_order(values: Tensor) -> Shaped[Tensor, " values"]:
    """All values in a row; the order does not matter, so channels-last needs no copy either."""
    order = sorted(range(values.ndim), key=values.stride, reverse=True)
    return values.permute(order).reshape(-1)


def _extremes(flat: Tensor) -> tuple[float, float]:
    if flat.numel() == 0:
        raise CalibrationError("a calibration batch is empty; give at least one sample.")
    low, high = (float(extreme) for extreme in flat.aminmax())
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    unusable = int((~torch.isfinite(flat)).sum())
    raise CalibrationError(
        f"{unusable:,} of {flat.numel():,} calibration values are NaN or infinite; "
        "check the data and the weights."
    )


def _nothing_seen() -> Histogram:
    counts = torch.zeros(1, dtype=torch.int64)
    return Histogram(counts=counts, bins_below_zero=0, bin_width=0.0, low=math.inf, high=-math.inf)


def _grown(histogram: Histogram, low: float, high: float) -> Histogram:
    """The same counts, with bins for every value in ``[low, high]``."""
    if histogram.low <= low and high <= histogram.high:
        return histogram
    magnitude = max(-low, high)
    if histogram.bin_width == 0 and magnitude > _SMALLEST_MAGNITUDE:
        histogram = replace(histogram, bin_width=magnitude / BINS)
    while magnitude > _MOST_BINS * histogram.bin_width > 0:
        histogram = _pairs_joined(histogram)
    below, scale = histogram.bins_below_zero, _bins_per_unit(histogram)
    before = max(0, -math.floor(min(low, 0.0) * scale) - below)
    after = max(0, math.floor(max(high, 0.0) * scale) + 1 + below - len(histogram.counts))
    return replace(
        histogram,
        counts=pad(histogram.counts, (before, after)),
        bins_below_zero=below + before,
        low=min(low, histogram.low),
        high=max(high, histogram.high),
    )


def _pairs_joined(histogram: Histogram) -> Histogram:
    below = histogram.bins_below_zero
    odd_ends = (below % 2, (len(histogram.counts) - below) % 2)
    return replace(
        histogram,
        counts=pad(histogram.counts, odd_ends).view(-1, 2).sum(1),
        bins_below_zero=(below + 1) // 2,
        bin_width=2 * histogram.bin_width,
    )


def _bins_per_unit(histogram: Histogram) -> float:
    return _TOWARDS_ZERO / histogram.bin_width if histogram.bin_width else 0.0


def _counted(flat: Tensor, histogram: Histogram) -> Int[Tensor, " bins"]:
    """How many of the values belong into each bin of ``histogram``."""
    scale, bins = _bins_per_unit(histogram), len(histogram.counts)
    counts = torch.zeros(bins, dtype=torch.int64, device=flat.device)
    for values in flat.split(_VALUES_AT_ONCE):
        positions = values.to(torch.float64, copy=True).mul_(scale).floor_()
        # 32-bit indices: four times as fast to make, twice as fast to count, as 64-bit ones.
        counts += torch.bincount(positions.int().add_(histogram.bins_below_zero), minlength=bins)
    return counts.cpu()


def magnitudes(histogram: Histogram) -> Int[Tensor, " bins"]:
    """Counts of ``|x|`` in bins of the same width, from 0.

    Example:
        >>> histogram = observe(None, torch.tensor([-1.0, 0.0, 1.0]))
        >>> counts = magnitudes(histogram)
        >>> len(histogram.counts), len(counts), int(counts[0]), int(counts[-1])
        (4096, 2048, 1, 2)
    """
    negative, positive = histogram.counts.tensor_split([histogram.bins_below_zero])
    bins = max(len(negative), len(positive))
    return pad(negative.flip(0), (0, bins - len(negative))) + pad(
        positive, (0, bins - len(positive))
    )
