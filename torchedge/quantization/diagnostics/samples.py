"""What can be said about a set of samples from one look at each."""

import hashlib
from collections import Counter
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, normalize

__all__ = ["SampleSet", "near_copies"]

_THUMBNAIL = 8  # pixels on a side
_ALIKE = 0.999  # cosine similarity of thumbnails
_AT_ONCE = 1024


@final
class SampleSet:
    """Counts, extremes and hashes of samples that come in batches.

    Args:
        keep_thumbnails: Keep each sample at 8×8, for :func:`near_copies`.
    """

    def __init__(self, *, keep_thumbnails: bool = False) -> None:
        self.keep_thumbnails = keep_thumbnails
        self.samples = 0
        self.shape: tuple[int, ...] | None = None
        self.other_shapes: dict[int, tuple[int, ...]] = {}
        self.digests: list[bytes] = []
        self.not_finite: list[int] = []
        self.constant: list[int] = []
        self.whole_numbers = True
        self.low, self.high = float("inf"), float("-inf")
        self.channel_low: Tensor | None = None
        self.channel_high: Tensor | None = None
        self.thumbnails: list[Tensor] = []
        self._batches = 0

    @property
    def repeated(self) -> int:
        """How many samples have the bytes of an earlier one."""
        return self.samples - len(set(self.digests))

    @property
    def most_repeated(self) -> int:
        """How often the most frequent sample is there."""
        return max(Counter(self.digests).values())

    @property
    def still_channels(self) -> list[int]:
        """Channels with the same value everywhere in all samples; of pictures and sequences."""
        if self.channel_low is None or self.channel_high is None:
            return []
        return (self.channel_low == self.channel_high).nonzero().flatten().tolist()

    def add(self, batch: Tensor) -> bool:
        """Look at a batch.

        Returns:
            Whether its samples have the shape of the first one's and are finite.
        """
        number, first = self._batches, self.samples
        self._batches += 1
        self.samples += len(batch)
        self.digests += [_digest(sample) for sample in batch]
        shape = tuple(batch.shape[1:])
        self.shape = self.shape or shape
        if shape != self.shape:
            self.other_shapes[number] = shape
            return False
        flat = batch.flatten(1).float() if batch.ndim > 1 else batch.float().view(-1, 1)
        bad = ~torch.isfinite(flat).all(1)
        self.not_finite += _places(bad, first)
        if bad.any():
            return False
        self._add_values(batch, flat, first)
        return True

    def _add_values(self, batch: Tensor, flat: Tensor, first: int) -> None:
        if not flat.numel():
            return
        self.constant += _places(flat.amin(1) == flat.amax(1), first)
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self.whole_numbers = self.whole_numbers and bool((flat == flat.round()).all())
        if batch.ndim > 2:
            by_channel = batch.movedim(1, 0).flatten(1)
            low, high = by_channel.amin(1), by_channel.amax(1)
            was_low = low if self.channel_low is None else self.channel_low
            was_high = high if self.channel_high is None else self.channel_high
            self.channel_low = torch.minimum(was_low, low)
            self.channel_high = torch.maximum(was_high, high)
        if self.keep_thumbnails:
            self.thumbnails.append(_thumbnails(batch.float()))


def _digest(sample: Tensor) -> bytes:
    raw = sample.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.blake2b(raw.numpy().tobytes(), digest_size=16).digest()


def _places(found: Tensor, first: int) -> list[int]:
    return [first + int(place) for place in found.nonzero().flatten()]


def _thumbnails(batch: Tensor) -> Float[Tensor, "samples pixels"]:
    """Each sample small, with mean 0 and length 1, so that a product is a correlation."""
    if batch.ndim >= 4:
        small = adaptive_avg_pool2d(batch.flatten(1, -3), _THUMBNAIL).flatten(1)
    else:
        small = adaptive_avg_pool1d(batch.flatten(1).unsqueeze(1), _THUMBNAIL**2).flatten(1)
    return normalize(small - small.mean(1, keepdim=True))


def near_copies(seen: SampleSet) -> list[tuple[int, int]]:
    """Pairs of samples that differ in bytes but look alike at 8×8: correlation above 0.999.

    Example:
        >>> x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> seen = SampleSet(keep_thumbnails=True)
        >>> seen.add(torch.cat([x, 0.99 * x[:1]]))
        True
        >>> near_copies(seen)
        [(0, 2)]
    """
    if not seen.thumbnails or seen.other_shapes or seen.not_finite:
        return []
    thumbnails = torch.cat(seen.thumbnails)
    pairs = []
    for start in range(0, len(thumbnails), _AT_ONCE):
        alike = thumbnails[start : start + _AT_ONCE] @ thumbnails.T > _ALIKE
        for row, column in alike.nonzero().tolist():
            if start + row < column and seen.digests[start + row] != seen.digests[column]:
                pairs.append((start + row, column))
    return pairs
