"""NVIDIA's entropy calibration written a second time, slowly: one candidate after the other.

Migacz 2017 (GTC S7310) and the open ``histogram.py`` of pytorch-quantization: 2,048 bins of ``|x|``
over the first batch, further bins of the same width for later ones, ``bins[0] = bins[1]``, 128
levels, the last argmin, ``amax = kept bins · bin width`` and ``scale = amax / 127``. Where that
clips more than a 128th of what is not in the first bin, the squared error decides; its scale is not
unique, so it is judged by its error.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

BINS = 2048
LEVELS = 128
# Each divergence sums at most 10,000 terms below 10, each rounded to 2^-53 of itself.
ROUNDING = 1e-12

# The search for the squared error steps at most so far beyond the best scale: 11 octaves in 191
# steps, and then in sixths of one.
WIDER = 2 ** (11 / 191 / 6)

Doubles = npt.NDArray[np.float64]
Batches = Sequence[npt.NDArray[np.float32]]


def entropy_scale(batches: Batches) -> np.float32:
    """``amax / 127`` in float32, where it clips little enough."""
    scale = guarded_scale(batches)
    assert scale is not None, "the squared error decides here; ask is_right"
    return scale


def guarded_scale(batches: Batches) -> np.float32 | None:
    """``amax / 127`` in float32; nothing where it clips too much."""
    largest = max(float(np.abs(batch).max()) for batch in batches)
    if largest == 0:
        return np.float32(1)
    counts, width = counted(batches)
    kept = kept_bins(counts)
    if counts[kept:].sum() > counts[1:].sum() / LEVELS:
        return None
    return np.float32(min(kept * width, largest)) / np.float32(127)


def is_right(
    scale: float, batches: Batches, rounded: Callable[[float], float] = lambda scale: scale
) -> bool:
    """Whether a scale is the entropy rule's, or as good as the best of a search by squared error.

    Args:
        scale: To be judged.
        batches: The values that it is for.
        rounded: What the grid makes of a scale.
    """
    entropy = guarded_scale(batches)
    if entropy is not None:
        return scale == rounded(float(entropy))
    values = np.concatenate([np.abs(batch.astype(np.float64)).ravel() for batch in batches])
    width = counted(batches)[1]
    tried = [rounded(share * float(values.max()) / 127) for share in np.arange(0.02, 1.01, 0.02)]
    best = min(rounding_error(values, each) for each in tried)
    # A histogram knows either error within a bin width.
    return rounding_error(values, scale) <= WIDER * (best + width) + width


def rounding_error(values: Doubles, scale: float) -> float:
    """Root mean square distance of magnitudes to the grid."""
    on_grid = np.minimum(np.rint(values / scale), 127) * scale
    return float(np.sqrt(np.mean((values - on_grid) ** 2)))


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
