"""Bilinear resizing on integers, as XNNPACK computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

__all__ = ["resized_steps"]

_WEIGHT_BITS = 11


@final
@dataclass(frozen=True, kw_only=True)
class _Neighbours:
    """For each new place along one axis the two old ones, and the second one's weight."""

    low: Tensor
    high: Tensor
    weight: Tensor


def resized_steps(steps: Tensor, sizes: Sequence[int], *, align_corners: bool) -> Tensor:
    """Pictures of other sizes, from weights of 11 bits and one rounding, half up.

    The place of a pixel is computed in float32; each weight is rounded to ``1 / 2048``. Both axes
    are then interpolated in whole numbers, and the sum is shifted by 22 bits.

    Args:
        steps: Integers, shape ``(batch, channels, height, width)``; the zero point may be in them
            or not, it passes through.
        sizes: New height and width.
        align_corners: The centres of the corner pixels stay where they are; else their corners do.

    Returns:
        Integers as float64, shape ``(batch, channels, *sizes)``.

    Example:
        >>> row = torch.tensor([[[[0.0, 10.0]]]])
        >>> resized_steps(row, (1, 4), align_corners=False).tolist()
        [[[[0.0, 3.0, 8.0, 10.0]]]]
    """
    rows, columns = (
        _neighbours(old, new, align_corners=align_corners)
        for old, new in zip(steps.shape[2:], sizes, strict=True)
    )
    whole = steps.long()
    top, bottom = (_between(whole[:, :, places], columns) for places in (rows.low, rows.high))
    total = (top << _WEIGHT_BITS) + (bottom - top) * rows.weight[:, None]
    half = 1 << (2 * _WEIGHT_BITS - 1)
    return ((total + half) >> 2 * _WEIGHT_BITS).double()


def _between(rows: Tensor, columns: _Neighbours) -> Tensor:
    left, right = rows[..., columns.low], rows[..., columns.high]
    return (left << _WEIGHT_BITS) + (right - left) * columns.weight


def _neighbours(old: int, new: int, *, align_corners: bool) -> _Neighbours:
    places = torch.arange(new, dtype=torch.float32)
    if align_corners:
        found = places * torch.tensor((old - 1) / max(new - 1, 1))
    else:
        scale = torch.tensor(float(old)) / torch.tensor(float(new))
        found = (places * scale + (0.5 * scale - 0.5)).clamp(0, old - 1)
    low = found.long().clamp(max=old - 1)
    weight = torch.round((found - low.float()) * 2**_WEIGHT_BITS).long()
    return _Neighbours(low=low, high=(low + 1).clamp(max=old - 1), weight=weight)
