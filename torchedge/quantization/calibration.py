"""Rules that choose a range from a histogram: all that was seen, or the least loss of information.

Two more are in :mod:`torchedge.quantization.range_rules`.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchedge.quantization.histogram import BINS, Histogram, RangeRule, magnitudes, observe
from torchedge.quantization.range_rules import mse
from torchedge.scheme import QuantSpec
from torchedge.telling import warn

__all__ = [
    "BINS",
    "EntropyRange",
    "Histogram",
    "RangeRule",
    "entropy",
    "entropy_range",
    "entropy_threshold",
    "magnitudes",
    "minmax",
    "most_clipped",
    "observe",
]

_EQUAL_DIVERGENCES = 1e-12  # rounding of the sums below; smaller differences are no difference


def minmax(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """Keep every value that was seen.

    Example:
        >>> minmax(observe(None, torch.tensor([-1.0, 3.0])), QuantSpec())
        (-1.0, 3.0)
    """
    return histogram.low, histogram.high


@final
@dataclass(frozen=True, kw_only=True)
class EntropyRange:
    """What the entropy rule chose for one tensor.

    Args:
        low: Low end of the range.
        high: High end of the range.
        refused_share: Share of the values, zeros left out, that the smallest divergence would have
            clipped where that is too much and the squared error has decided; else 0.
    """

    low: float
    high: float
    refused_share: float


def entropy(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """Clip where the quantised distribution loses the least information about the original.

    The threshold of :func:`entropy_threshold` with ``2^(bits - 1)`` levels (``2^bits`` for values
    of one sign on an asymmetric grid), cut to the range that was seen. Where nearly all values lie
    above a candidate, both distributions collapse into its last bin and their divergence is about
    zero, so the smallest divergence says nothing: a threshold that clips more than
    :func:`most_clipped` is refused with a warning, and
    :func:`~torchedge.quantization.range_rules.mse` decides.

    Example:
        >>> bell = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
        >>> low, high = entropy(observe(None, torch.cat([bell, torch.tensor([40.0])])), QuantSpec())
        >>> high < 10
        True
    """
    found = entropy_range(histogram, spec)
    if found.refused_share:
        warn(
            f"the entropy rule would clip {found.refused_share:.1%} of the values that are not "
            "zero; the squared error decides instead.",
        )
    return found.low, found.high


def entropy_range(histogram: Histogram, spec: QuantSpec) -> EntropyRange:
    """As :func:`entropy`, and whether its threshold was refused, without a warning.

    Example:
        >>> far_from_zero = torch.linspace(9, 11, 10_000)
        >>> found = entropy_range(observe(None, far_from_zero), QuantSpec())
        >>> found.high > 10.9, found.refused_share > 0.99
        (True, True)
    """
    if histogram.bin_width == 0:
        return EntropyRange(low=histogram.low, high=histogram.high, refused_share=0.0)
    one_sided = not spec.symmetric and (histogram.low >= 0 or histogram.high <= 0)
    levels = 2**spec.bits if one_sided else 2 ** (spec.bits - 1)
    counts = magnitudes(histogram)
    kept = entropy_threshold(counts, levels)
    clipped = _share_beyond(counts, kept)
    if clipped > most_clipped(spec):
        low, high = mse(histogram, spec)
        return EntropyRange(low=low, high=high, refused_share=clipped)
    threshold = kept * histogram.bin_width
    low, high = max(histogram.low, -threshold), min(histogram.high, threshold)
    return EntropyRange(low=low, high=high, refused_share=0.0)


def most_clipped(spec: QuantSpec) -> float:
    """The share of values that a range may clip before what it clips is no tail.

    Clipped values take the last integer. With ``2^(bits - 1)`` magnitudes an integer stands for
    ``1 / 2^(bits - 1)`` of the values on average, so beyond that share the last one stands for more
    values that are not its own than an average one for all of its own: 0.8 % at 8 bits, 12.5 % at
    4 bits.

    Example:
        >>> most_clipped(QuantSpec()), most_clipped(QuantSpec(bits=4))
        (0.0078125, 0.125)
    """
    return 2.0 ** (1 - spec.bits)


def _share_beyond(counts: Int[Tensor, " bins"], kept: int) -> float:
    """Share of the values beyond the kept bins, those in the first bin left out.

    Where most values are zero, the others carry the information, so clipping all of them must not
    pass for a small share.
    """
    beyond, others = int(counts[kept:].sum()), int(counts[1:].sum())
    return beyond / others if others else 0.0


def entropy_threshold(counts: Int[Tensor, " bins"], levels: int) -> int:
    """Number of bins to keep so that ``KL(P ‖ Q)`` is smallest.

    NVIDIA's search (Migacz 2017, GTC S7310), which knows no limit to what it clips: the first bin
    is replaced by the second, which removes the spike at zero; for each candidate ``i`` from
    ``levels`` to all bins, ``P`` is the first ``i`` bins with the tail added to the last one, and
    ``Q`` spreads each of ``levels`` runs of bins evenly over its non-empty bins. The last of equal
    minima wins.

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
