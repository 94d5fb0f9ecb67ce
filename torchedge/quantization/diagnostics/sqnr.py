"""How much of a tensor survives quantisation, as a ratio of powers."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from torchedge.errors import UsageError

__all__ = ["Power", "sqnr"]


@final
@dataclass(frozen=True, kw_only=True)
class Power:
    """Running sums over any number of tensors, in float64.

    Args:
        signal: ``Σ r²`` of what should have come out.
        noise: ``Σ (r - r')²`` of what did come out.

    Example:
        >>> one = torch.ones(4)
        >>> Power().plus(one, one).plus(one, 0.9 * one).sqnr_db > 20
        True
    """

    signal: float = 0.0
    noise: float = 0.0

    def plus(self, reference: Tensor, found: Tensor) -> "Power":
        """The sums with one more pair of tensors in them.

        Raises:
            UsageError: The shapes differ.
        """
        if reference.shape != found.shape:
            raise UsageError(
                f"a tensor of shape {tuple(found.shape)} cannot be compared with its reference of "
                f"shape {tuple(reference.shape)}; give both for the same inputs."
            )
        return Power(
            signal=self.signal + _energy(reference), noise=self.noise + _energy(reference - found)
        )

    @property
    def sqnr_db(self) -> float:
        """``10·log10(signal / noise)``: infinite without noise, minus infinite without signal."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    @property
    def relative_noise(self) -> float:
        """``noise / signal``, 0 without noise."""
        if self.noise == 0:
            return 0.0
        return self.noise / self.signal if self.signal else math.inf


def _energy(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x.detach(), dtype=torch.float64)) ** 2


def sqnr(reference: Tensor, found: Tensor) -> float:
    """Signal-to-quantisation-noise ratio in decibel: 6.02 dB are one bit.

    ``10·log10(Σ r² / Σ (r - r')²)``, infinite where both are equal.

    Args:
        reference: What should have come out.
        found: What did come out.

    Raises:
        UsageError: The shapes differ.

    Example:
        >>> round(sqnr(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.5])), 3)
        20.0
    """
    return Power().plus(reference, found).sqnr_db
