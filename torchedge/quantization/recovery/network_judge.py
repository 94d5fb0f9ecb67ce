"""Which of two quantised networks is nearer to the float network on held-out samples."""

from typing import final

import torch
from torch import Tensor, nn

from torchedge.quantization.batches import Inputs
from torchedge.quantization.recovery.same_function import outputs_of

__all__ = ["Contest"]

_SINGLE_SAMPLE_RATIO = 0.23  # where one sample has no deviation: log of 1 dB
_LEAST_NOISE = 1e-20
_LEAST_SIGNAL = 1e-20
_CERTAINTY = 0.99


@final
class Contest:
    """Keeps the quantised network that is nearest to the float network on held-out samples.

    Args:
        original: The user's float network.
        held: Batches that nothing was computed from, the samples along the first axis.
        first: The network to be better than.

    Example:
        >>> net, x = nn.Linear(2, 2), torch.rand(4, 2)
        >>> contest = Contest(net, ((x,),), nn.Linear(2, 2))
        >>> contest.is_won_by(net), contest.best is net
        (True, True)
    """

    def __init__(self, original: nn.Module, held: tuple[Inputs, ...], first: nn.Module) -> None:
        self._held = held
        self._wanted = [outputs_of(original, batch) for batch in held]
        samples = sum(len(batch[0]) for batch in held)
        self._signals = [
            max(float(sum(y.square().sum() for y in output)) / samples, _LEAST_SIGNAL)
            for output in zip(*self._wanted, strict=True)
        ]
        self.best, self._least = first, self._noise_of(first)

    def is_won_by(self, candidate: nn.Module, *, least_gain: float = 0.0) -> bool:
        """Whether a candidate has less noise by more than chance; it then is the best.

        The noise of a few samples outweighs that of all others, so that chance is judged by the
        logarithm of each sample's ratio: its mean must be above the 99 % quantile of Student's t
        times its standard error. The mean noise must have become less, too. Of equal ones the
        earlier stays, which is the one that less was done to.

        Args:
            candidate: The network.
            least_gain: The share of the mean noise that has to go.
        """
        noise = self._noise_of(candidate)
        gain = 1 - noise.mean() / self._least.mean().clamp(min=_LEAST_NOISE)
        ratios = torch.log(self._least.clamp(min=_LEAST_NOISE) / noise.clamp(min=_LEAST_NOISE))
        chance = torch.tensor(_SINGLE_SAMPLE_RATIO)
        if len(ratios) > 1:
            chance = ratios.std() * (_student_quantile(len(ratios)) / len(ratios) ** 0.5)
        if not bool((gain > least_gain) & (ratios.mean() > chance)):
            return False
        self.best, self._least = candidate, noise
        return True

    @torch.no_grad()
    def _noise_of(self, candidate: nn.Module) -> Tensor:
        """Noise to signal of each held-out sample, summed over the network's outputs."""
        return torch.cat(
            [
                self._noise(outputs_of(candidate, batch), wanted, len(batch[0]))
                for batch, wanted in zip(self._held, self._wanted, strict=True)
            ]
        )

    def _noise(self, found: list[Tensor], wanted: list[Tensor], samples: int) -> Tensor:
        noise = torch.zeros(samples)
        for ours, theirs, signal in zip(found, wanted, self._signals, strict=True):
            squares = (ours - theirs).square()
            by_sample = theirs.ndim > 0 and len(theirs) == samples
            each = squares.flatten(1).sum(1) if by_sample and theirs.ndim > 1 else squares
            noise += each / signal if by_sample else squares.sum() / samples / signal
        return noise


def _student_quantile(samples: int) -> float:
    """The 99 % quantile of Student's t for the mean of so many samples (Student 1908)."""
    from scipy.stats import t

    return float(t.ppf(_CERTAINTY, samples - 1))
