"""Calibration samples that a repair does not see, to tell whether it repaired anything."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from torchedge.quantization.batches import Inputs

__all__ = ["Parts", "held_out"]

_SHARE = 4  # one of so many samples is held out,
_FEWEST, _MOST = 8, 64  # but at least 8, of at most half of all, and no more than 64


@final
@dataclass(frozen=True, kw_only=True)
class Parts:
    """Calibration batches in two parts.

    Args:
        fit: What repairs are computed from.
        held: What they are judged on.
    """

    fit: tuple[Inputs, ...]
    held: tuple[Inputs, ...]


def held_out(batches: tuple[Inputs, ...], *, seed: int = 0) -> Parts:
    """Batches without some of their samples, and those samples; batches stay apart.

    A quarter of the samples is held out; of few, 8 or a half. They are drawn at random over all
    batches, because what is next to each other in a data set is often alike; the same seed and
    sizes give the same ones. A single sample is in both parts: then nothing can be held out.

    Args:
        batches: At least one, a tensor for each input, the samples along the first axis.
        seed: Of the draw.

    Example:
        >>> parts = held_out(((torch.arange(20.0),), (torch.arange(20.0, 40.0),)))
        >>> sum(len(x) for (x,) in parts.fit), sum(len(x) for (x,) in parts.held)
        (30, 10)
    """
    samples = sum(len(batch[0]) for batch in batches)
    if samples == 1:
        return Parts(fit=batches, held=batches)
    count = min(max(samples // _SHARE, min(samples // 2, _FEWEST)), _MOST)
    drawn = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))[:count]
    chosen = torch.zeros(samples, dtype=torch.bool).index_fill(0, drawn, value=True)
    masks = chosen.split([len(batch[0]) for batch in batches])
    pairs = list(zip(batches, masks, strict=True))
    return Parts(
        fit=tuple(_chosen(batch, ~mask) for batch, mask in pairs if not mask.all()),
        held=tuple(_chosen(batch, mask) for batch, mask in pairs if mask.any()),
    )


def _chosen(batch: Inputs, mask: Tensor) -> Inputs:
    return tuple(tensor[mask] for tensor in batch)
