"""What masks refuse, in one line each."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from torchedge.arguments import require
from torchedge.errors import PruningError

__all__ = [
    "require_kept",
    "require_mask_for",
    "require_network",
    "require_numbers",
    "require_pattern_sparsity",
    "require_same_names",
    "require_scores",
]

_SHOWN = 3


def require_network(model: object) -> None:
    """Refuse what has no layers.

    Raises:
        PruningError: It is no module.
    """
    if not isinstance(model, nn.Module):
        raise PruningError(
            f"a model is an nn.Module, and this is a {type(model).__name__}; pass the network "
            "itself, not its path or its state dict."
        )


def require_scores(found: object, weight: Tensor, what: str) -> Tensor:
    """What a function of scores returned, which is a number for each weight.

    Raises:
        PruningError: It is something else, or a score is NaN.

    Example:
        >>> import torch
        >>> require_scores(torch.ones(2), torch.zeros(2), "the scores")
        tensor([1., 1.])
    """
    shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
    if not isinstance(found, Tensor) or found.shape != weight.shape:
        raise PruningError(
            f"{what} are {shape}, and the weight is {tuple(weight.shape)}; return a number for "
            "each weight, weight.abs() for example."
        )
    require_numbers(found, what)
    return found


def require_numbers(scores: Tensor, what: str = "the scores") -> None:
    """Refuse scores that cannot be put in an order.

    Raises:
        PruningError: A score is NaN.
    """
    bad = int(scores.isnan().sum())
    if bad:
        raise PruningError(
            f"{what} hold {bad:,} NaN of {scores.numel():,}; go back to a checkpoint from before "
            "the training diverged."
        )


def require_kept(masks: Mapping[str, Tensor], sparsity: float) -> None:
    """Refuse masks that leave nothing of a weight.

    Raises:
        PruningError: A mask keeps no weight at all.
    """
    for name, mask in masks.items():
        if not mask.any():
            raise PruningError(
                f"a sparsity of {sparsity:.4g} would remove all {mask.numel():,} weights of "
                f"'{name}'; lower it, keep some of each weight (Unstructured(least_kept=0.01)), or "
                "leave the layer out."
            )


def require_pattern_sparsity(sparsity: float, n: int, m: int) -> None:
    """Refuse more than a pattern of runs removes.

    Raises:
        PruningError: ``sparsity`` is outside [0, 1 - n/m].
    """
    if not 0 <= sparsity <= 1 - n / m + 1e-9:
        raise PruningError(
            f"{n} of {m} is a sparsity of {1 - n / m:.4g} in the end, so {sparsity:.4g} is not in "
            f"[0, {1 - n / m:.4g}]; choose another pattern for more."
        )


def require_same_names(given: Sequence[str], here: Sequence[str], what: str) -> None:
    """Refuse what was made for another network.

    Raises:
        PruningError: A name is not there; the text holds some of either.
    """
    known = set(here)
    strange = [name for name in given if name not in known]
    if strange:
        raise PruningError(
            f"{what} for another network: {len(strange):,} of {len(given):,} names are not here "
            f"({_some(strange)}); this one has {_some(here)}."
        )


def require_mask_for(name: str, mask: Tensor, weight: Tensor) -> None:
    """Refuse a mask that does not say of each weight whether it stays.

    Raises:
        PruningError: The shape is another one, a value is neither 0 nor 1, or nothing would stay.
    """
    way_out = "give a tensor of ones and zeros"
    require(isinstance(mask, Tensor), f"the mask for '{name}'", mask, way_out, PruningError)
    if mask.shape != weight.shape:
        raise PruningError(
            f"the mask for '{name}' has the shape {tuple(mask.shape)} and the weight "
            f"{tuple(weight.shape)}; the masks are for another network."
        )
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise PruningError(f"the mask for '{name}' holds other values than 0 and 1.")
    if not mask.any():
        raise PruningError(
            f"the mask for '{name}' would remove all {mask.numel():,} weights; keep some of them, "
            "or leave the layer out."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN]) or "none"
    return shown + (", …" if len(names) > _SHOWN else "")
