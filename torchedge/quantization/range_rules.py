"""Rules that choose a range from a histogram: by share of values, by squared error.

:func:`~torchedge.quantization.calibration.minmax` and
:func:`~torchedge.quantization.calibration.entropy` are beside the histogram.
"""

import math
from fractions import Fraction

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from torchedge.arguments import is_number, require
from torchedge.errors import CalibrationError
from torchedge.quantization.functional import affine_params
from torchedge.quantization.histogram import Histogram, RangeRule, magnitudes
from torchedge.scheme import QuantSpec

__all__ = ["expected_squared_error", "mse", "percentile"]

_COARSE_TIED = 192  # candidates where one number decides the range
_COARSE_FREE = 24  # candidates for each end where both are free
_FINE = 13  # candidates around the best one, in each of the rounds below
_ROUNDS = 3
_NUMBERS_AT_ONCE = 2**17  # candidates times edges, 1 MiB as float64: stays in the cache


def percentile(quantile: float) -> RangeRule:
    """A rule that keeps ``quantile`` percent of the values and clips the rest.

    Symmetric grids keep that share of ``|x|``. Asymmetric grids keep it on each side: that share is
    at most ``high``, and that share is at least ``low``. The end of the range is the outer edge of
    the bin that holds the last value to keep, so at most a bin width beyond it.

    Args:
        quantile: Percentage to keep, above 50 and up to 100, for example 99.99.

    Raises:
        CalibrationError: The quantile is outside that range.

    Example:
        >>> from torchedge.quantization.histogram import observe
        >>> low, high = percentile(90)(observe(None, torch.arange(-3.0, 97.0)), QuantSpec())
        >>> low, 86 <= high <= 86 + 96 / 2048
        (-3.0, True)
    """
    way_out = "give the percentage of values to keep, 99.99"
    require(is_number(quantile), "the quantile", quantile, way_out, CalibrationError)
    if not 50 < quantile <= 100:
        raise CalibrationError(
            f"quantile = {quantile} is outside (50, 100]; give the percentage of values to keep, "
            "for example 99.99."
        )
    share = Fraction(str(quantile)) / 100  # 99.99 as written, not as the nearest binary number

    def keep_share(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
        low, high = _ends_holding(histogram, share, mirrored=spec.symmetric)
        return (
            min(max(low, histogram.low), histogram.high),
            min(max(high, histogram.low), histogram.high),
        )

    return keep_share


def _ends_holding(histogram: Histogram, share: Fraction, *, mirrored: bool) -> tuple[float, float]:
    width, below = histogram.bin_width, histogram.bins_below_zero
    if mirrored:
        threshold = _bins_holding(magnitudes(histogram), share) * width
        return -threshold, threshold
    left_out = len(histogram.counts) - _bins_holding(histogram.counts.flip(0), share)
    return (left_out - below) * width, (_bins_holding(histogram.counts, share) - below) * width


def _bins_holding(counts: Int[Tensor, " bins"], share: Fraction) -> int:
    """How many bins, from the first one on, hold at least that share of all values."""
    wanted = math.ceil(share * int(counts.sum()))
    return int(torch.searchsorted(counts.cumsum(0), wanted)) + 1


def mse(histogram: Histogram, spec: QuantSpec) -> tuple[float, float]:
    """The range whose integers are nearest to the values, in mean square.

    Minimises :func:`expected_squared_error`. Candidates shrink the range that was seen by equal
    ratios down to one bin: by one number on symmetric grids and for values of one sign, else each
    end by its own. Three rounds then search around the best one, down to steps of 0.02 % (0.15 %
    for two numbers) where the histogram has 2,048 bins a side. What was seen is always a candidate,
    so the result is never worse than :func:`~torchedge.quantization.calibration.minmax`.

    Example:
        >>> from torchedge.quantization.histogram import observe
        >>> bell = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
        >>> seen = observe(None, torch.cat([bell, torch.tensor([40.0])]))
        >>> mse(seen, QuantSpec(bits=4))[1] < 4 < mse(seen, QuantSpec(bits=8))[1] < 40
        True
    """
    if histogram.bin_width == 0:
        return histogram.low, histogram.high
    tied = spec.symmetric or histogram.low >= 0 or histogram.high <= 0
    kept = torch.ones(1, 2, dtype=torch.float64)
    for ratios in _rounds(histogram, _COARSE_TIED if tied else _COARSE_FREE):
        pairs = ratios[:, None].expand(-1, 2) if tied else torch.cartesian_prod(ratios, ratios)
        candidates = torch.cat([kept, (kept * pairs).clamp(max=1)])
        errors = expected_squared_error(histogram, *_ends(histogram, spec, candidates), spec)
        kept = candidates[errors.argmin()][None]
    return _as_wide_as_its_grid(histogram, spec, *_ends(histogram, spec, kept))


def _as_wide_as_its_grid(
    histogram: Histogram, spec: QuantSpec, low: Tensor, high: Tensor
) -> tuple[float, float]:
    """The widest range inside what was seen that has the same short scale, so the same integers."""
    if spec.scale_bits is not None and spec.symmetric:
        end = affine_params(low, high, spec)[0] * spec.quant_max
        low, high = (-end).clamp(min=histogram.low), end.clamp(max=histogram.high)
    return float(low), float(high)


def _rounds(histogram: Histogram, coarse: int) -> list[Float[Tensor, " ratios"]]:
    """Ratios to try in each round: first from one bin to all, then around the best."""
    octaves = math.log2(len(magnitudes(histogram)))
    spacing = octaves / (coarse - 1)
    everywhere = torch.linspace(-octaves, 0, coarse, dtype=torch.float64)
    nearby = torch.linspace(-spacing, spacing, _FINE, dtype=torch.float64)
    finer = [nearby * (2 / (_FINE - 1)) ** done for done in range(_ROUNDS)]
    return [torch.exp2(exponents) for exponents in (everywhere, *finer)]


def _ends(
    histogram: Histogram, spec: QuantSpec, kept: Float[Tensor, "candidates 2"]
) -> tuple[Float[Tensor, " candidates"], Float[Tensor, " candidates"]]:
    """Low and high ends, inside what was seen, that keep these shares of either side of zero."""
    magnitude = max(-histogram.low, histogram.high)
    low, high = (-magnitude, magnitude) if spec.symmetric else (histogram.low, histogram.high)
    seen = (histogram.low, histogram.high)
    return (low * kept[:, 0]).clamp(*seen), (high * kept[:, 1]).clamp(*seen)


def expected_squared_error(
    histogram: Histogram,
    low: Float[Tensor, " candidates"],
    high: Float[Tensor, " candidates"],
    spec: QuantSpec,
) -> Float[Tensor, " candidates"]:
    """Mean of ``(x - x')²`` over the values seen, for each range that ``spec`` may represent.

    Values, exact zeros too, count as spread evenly over their bin. With ``u = x / scale`` and ``n``
    the integer that stands for it, zero point taken off, ``(u - n)²`` has the antiderivative
    ``G(u) = n / 12 + (u - n)³ / 3``, continuous across integers and beyond the clipping range. So
    ``c`` values between ``a`` and ``b`` add ``c · scale³ / (b - a) · (G(b) - G(a))``: rounding and
    clipping error together, whichever of bin and step is wider. The distance to the nearest grid
    point changes by no more than the value does, so the root of the result is within one bin width
    of the root mean square error of the values themselves.

    Args:
        histogram: The values seen.
        low: Low end of each range.
        high: High end of each range.
        spec: The grid; scale and zero point are those of
            :func:`~torchedge.quantization.functional.affine_params`.

    Example:
        >>> from torchedge.quantization.histogram import observe
        >>> seen = observe(None, torch.linspace(-1, 1, 100_001))
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> error = expected_squared_error(seen, -one, one, QuantSpec(narrow=True))
        >>> round(float(error) * 127**2, 4)  # a twelfth of the squared step
        0.0833
    """
    if histogram.bin_width == 0:
        return torch.zeros_like(low)
    scale, zero_point = affine_params(low, high, spec)
    edges, drops = _edges(histogram)
    at_once = max(1, _NUMBERS_AT_ONCE // len(edges))
    parts = zip(scale[:, None].split(at_once), zero_point[:, None].split(at_once), strict=True)
    sums = torch.cat([_antiderivative(edges / s, z, spec) @ drops for s, z in parts])
    return scale**2 * (scale / histogram.bin_width) * sums / histogram.counts.sum()


def _edges(histogram: Histogram) -> tuple[Float[Tensor, " edges"], Float[Tensor, " edges"]]:
    """Edges of bins, and by how much the counts drop there; edges without a drop are left out.

    ``Σ c_i · (G(e_i+1) - G(e_i))`` over bins is ``Σ (c_i-1 - c_i) · G(e_i)`` over edges.
    """
    drops = pad(histogram.counts, (1, 0)) - pad(histogram.counts, (0, 1))
    some = drops.nonzero().flatten()
    return (some - histogram.bins_below_zero).double() * histogram.bin_width, drops[some].double()


def _antiderivative(
    u: Float[Tensor, "candidates edges"], zero_point: Int[Tensor, "candidates 1"], spec: QuantSpec
) -> Float[Tensor, "candidates edges"]:
    n = u.round().clamp(spec.quant_min - zero_point, spec.quant_max - zero_point)
    off = u - n
    return n / 12 + off * off * off / 3
