"""NVIDIA's entropy calibration written a second time, slowly: one candidate after the other.

Migacz 2017 (GTC S7310) and the open ``histogram.py`` of pytorch-quantization: 2,048 bins of ``|x|``
over the first batch, further bins of the same width for later ones, ``bins[0] = bins[1]``, 128
levels, the last argmin, ``amax = kept bins · bin width`` and ``scale = amax / 127``.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BINS = 2048
LEVELS = 128
# Each divergence sums at most 10,000 terms below 10, each rounded to 2^-53 of itself.
ROUNDING = 1e-12

Doubles = npt.NDArray[np.float64]


def entropy_scale(batches: Sequence[npt.NDArray[np.float32]]) -> np.float32:
    """``amax / 127`` in float32."""
    largest = max(float(np.abs(batch).max()) for batch in batches)
    if largest == 0:
        return np.float32(1)
    counts, width = counted(batches)
    return np.float32(min(kept_bins(counts) * width, largest)) / np.float32(127)


def counted(batches: Sequence[npt.NDArray[np.float32]]) -> tuple[Doubles, float]:
    """Histogram of ``|x|`` and its bin width, which the first batch that is not all zero fixes.

    A value on an edge counts in the bin below. The edges are exact: a float32 number over 2,048,
    times less than 2^29, has at most 53 bits.
    """
    magnitudes = [np.abs(batch.astype(np.float64)).ravel() for batch in batches]
    width = next(float(m.max()) for m in magnitudes if m.any()) / BINS
    bins = max(BINS, int(np.ceil(max(m.max() for m in magnitudes) / width)))
    edges = np.arange(1, bins + 1) * width
    places = np.searchsorted(edges, np.concatenate(magnitudes), side="left")
    return np.bincount(places, minlength=bins).astype(np.float64), width


def kept_bins(counts: Doubles) -> int:
    """Number of bins below the threshold with the smallest divergence; the last one of equals."""
    bins = counts.copy()
    bins[0] = bins[1]
    candidates = range(LEVELS, len(bins) + 1)
    divergences = np.array([divergence(bins, kept) for kept in candidates])
    equal = np.flatnonzero(divergences <= divergences.min() + ROUNDING)
    return candidates[int(equal[-1])]


def divergence(bins: Doubles, kept: int) -> float:
    """``KL(P ‖ Q)`` of the clipped and of the clipped and quantised histogram."""
    clipped = bins[:kept].copy()
    clipped[-1] += bins[kept:].sum()
    quantised = spread(bins[:kept])
    if np.any((clipped > 0) & (quantised == 0)):
        return float("inf")
    some = clipped > 0
    p, q = clipped[some] / clipped.sum(), quantised[some] / quantised.sum()
    return float(np.sum(p * np.log(p / q)))


def spread(bins: Doubles) -> Doubles:
    """Each level's mass, shared out evenly over its bins that are not empty."""
    level = np.arange(len(bins)) * LEVELS // len(bins)
    filled = (bins > 0).astype(np.float64)
    mass = np.bincount(level, weights=bins, minlength=LEVELS)
    sharers = np.bincount(level, weights=filled, minlength=LEVELS)
    return filled * (mass / np.maximum(sharers, 1))[level]
