"""What every loss refuses, in one place."""

from numbers import Real

import torch
from torch import Tensor

from torchedge.errors import DistillationError

__all__ = ["require_batch", "require_logits", "require_temperature"]

_SUM_TOLERANCE = 1e-3  # half-precision probabilities of a thousand classes still sum to one in it


def require_temperature(temperature: float) -> None:
    """Refuse what cannot soften.

    Raises:
        DistillationError: The temperature is not a number above 0.
    """
    if not isinstance(temperature, Real) or not 0 < temperature < float("inf"):
        raise DistillationError(
            f"the temperature is {temperature!r}; give a number above 0, for example 4."
        )


def require_logits(values: Tensor, whose: str) -> None:
    """Refuse probabilities: a softmax over them again is nearly flat and teaches nothing.

    Log-probabilities pass; they are logits whose softmax is the same. Under ``torch.compile``
    nothing is looked at.

    Raises:
        DistillationError: All values are in [0, 1] and sum to one over the classes.
    """
    if torch.compiler.is_compiling() or values.shape[1] < 2 or values.numel() == 0:
        return
    sums = values.detach().float().sum(1)
    if bool((values.detach().min() >= 0) & ((sums - 1).abs() <= _SUM_TOLERANCE).all()):
        raise DistillationError(
            f"the {whose}'s outputs of shape {tuple(values.shape)} are probabilities: none is "
            "negative and each sample's sum to one. Softmax would be applied twice; take the "
            "softmax off the end of the network and give its logits."
        )


def require_batch(samples: int, least: int, what: str) -> None:
    """Refuse batches too small for a relation between samples.

    Raises:
        DistillationError: There are fewer than ``least`` samples.
    """
    if samples < least:
        raise DistillationError(
            f"{what} need batches of {least} samples or more, and this one has {samples}; give the "
            "DataLoader a larger batch_size, and drop_last=True where a small batch is left over."
        )
