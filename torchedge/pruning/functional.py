"""The numbers of pruning: scores, masks of exact size, and schedules. No state, no modules.

A share of ``n`` weights is ``floor(share · n)`` of them, so that never more go than was asked. Of
equal scores the last go first, in the order in which the weights lie in memory.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torchedge.pruning.checks import require_runs, require_sparsity
from torchedge.pruning.mask_checks import require_numbers, require_pattern_sparsity

__all__ = [
    "channel_norms",
    "cubic_sparsity",
    "global_masks",
    "iterative_sparsity",
    "lamp_scores",
    "linear_sparsity",
    "magnitude_scores",
    "median_distances",
    "n_of_m_mask",
    "n_of_m_masks_in_part",
    "random_scores",
    "shuffled_mask",
    "smallest_mask",
    "stepped_sparsity",
    "taylor_scores",
]


def magnitude_scores(weight: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """How far each weight is from zero (Han et al. 2015).

    Example:
        >>> magnitude_scores(torch.tensor([-2.0, 1.0]))
        tensor([2., 1.])
    """
    return weight.detach().abs()


def lamp_scores(weight: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """``w² / Σ v²`` over the weights of the layer that are not smaller: the share of what is left.

    Layers whose weights are large for another reason than that they matter, because a batch norm
    follows, compare with others this way, and none is emptied: the largest weight of each has the
    score 1. Lee et al. 2021, equation 4.

    Example:
        >>> lamp_scores(torch.tensor([1.0, 3.0, -1.0]))
        tensor([0.0909, 1.0000, 0.1000])
    """
    squares = weight.detach().flatten().square()
    order = squares.argsort(stable=True)
    ascending = squares[order]
    remaining = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.zeros_like(squares)
    scores[order] = torch.where(ascending > 0, ascending / remaining, ascending)
    return scores.view(weight.shape)


def random_scores(weight: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Scores that say nothing, the control of every other; drawn from torch's generator.

    Example:
        >>> random_scores(torch.zeros(3)).shape
        torch.Size([3])
    """
    return torch.rand_like(weight)


def taylor_scores(weight: Float[Tensor, "*s"], grad: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """``|w · ∂L/∂w|``: how much the loss changes without a weight, to first order.

    Molchanov et al. 2019, equation 8, before squaring.

    Example:
        >>> taylor_scores(torch.tensor([2.0, 3.0]), torch.tensor([-1.0, 0.0]))
        tensor([2., 0.])
    """
    return (weight * grad).detach().abs()


def channel_norms(weight: Float[Tensor, " out *rest"], p: float = 2.0) -> Float[Tensor, " out"]:
    """The p-norm of each slice along the first axis (Li et al. 2017 use ``p=1``).

    Example:
        >>> channel_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([5., 1.])
    """
    norms: Tensor = weight.detach().flatten(1).norm(p, dim=1)
    return norms


def median_distances(weight: Float[Tensor, " out *rest"]) -> Float[Tensor, " out"]:
    """Sum of the distances of each filter to all others: small for one that others can replace.

    FPGM, He et al. 2019, equation 4.

    Example:
        >>> median_distances(torch.tensor([[0.0], [1.0], [5.0]]))
        tensor([6., 5., 9.])
    """
    filters = weight.detach().flatten(1)
    return torch.cdist(filters, filters).sum(1)


def smallest_mask(scores: Float[Tensor, "*s"], sparsity: float) -> Bool[Tensor, "*s"]:
    """False for the ``floor(sparsity · n)`` smallest scores, of equal ones the last first.

    Args:
        scores: In the shape of the weight.
        sparsity: Share that goes, in [0, 1).

    Raises:
        PruningError: The sparsity is outside [0, 1), or a score is NaN.

    Example:
        >>> smallest_mask(torch.tensor([0.8, 0.1, 0.1, 0.9]), 0.25)
        tensor([ True,  True, False,  True])
    """
    require_sparsity(sparsity)
    return _without_smallest(scores.flatten(), _count(scores.numel(), sparsity)).view(scores.shape)


def global_masks(
    scores: Sequence[Float[Tensor, "..."]], sparsity: float, *, least_kept: float = 0.0
) -> list[Bool[Tensor, "..."]]:
    """Masks for several weights that lose their smallest scores together.

    Args:
        scores: One tensor for each weight.
        sparsity: Share of all weights that goes, in [0, 1); the count is exact.
        least_kept: Share of each weight that stays whatever its scores.

    Raises:
        PruningError: The sparsity is outside [0, 1), or cannot be reached with ``least_kept``, or a
            score is NaN.

    Example:
        >>> global_masks([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], 0.5)
        [tensor([False, False]), tensor([True, True])]
    """
    require_sparsity(sparsity)
    require_sparsity(least_kept)
    protected = [_protected(s.flatten(), least_kept) for s in scores]
    total = sum(s.numel() for s in scores)
    gone, free = _count(total, sparsity), total - sum(int(p.sum()) for p in protected)
    if gone > free:
        require_sparsity(sparsity, reachable=free / total)
    joined = [s.flatten().masked_fill(p, torch.inf) for s, p in zip(scores, protected, strict=True)]
    kept = _without_smallest(torch.cat(joined), gone).split([s.numel() for s in scores])
    return [mask.view(s.shape) for mask, s in zip(kept, scores, strict=True)]


def _count(size: int, share: float) -> int:
    return math.floor(round(share * size, 6))  # 0.29 · 100 is 28.999999999999996 in binary


def _without_smallest(scores: Tensor, count: int) -> Tensor:
    """Ties go from the end, so that a count is exact and the same everywhere."""
    require_numbers(scores)
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(count).values
    mask = scores > threshold
    missing = len(scores) - count - int(mask.sum())
    mask[(scores == threshold).nonzero().flatten()[:missing]] = True
    return mask


def _protected(scores: Tensor, share: float) -> Tensor:
    return _without_smallest(scores, _count(len(scores), 1 - share))


def shuffled_mask(mask: Bool[Tensor, "*s"]) -> Bool[Tensor, "*s"]:
    """As many weights as ``mask`` keeps, anywhere; drawn from torch's generator.

    The control that tells whether it matters *which* weights stay (Frankle & Carbin 2019).

    Example:
        >>> int(shuffled_mask(torch.tensor([True, False, True])).sum())
        2
    """
    order = torch.randperm(mask.numel()).to(mask.device)
    return mask.flatten()[order].view(mask.shape)


def n_of_m_mask(
    scores: Float[Tensor, "out fan_in"], n: int = 2, m: int = 4
) -> Bool[Tensor, "out fan_in"]:
    """True for the ``n`` largest scores in each run of ``m`` along the second axis.

    With 2 of 4 it is what NVIDIA's sparse tensor cores read (Mishra et al. 2021).

    Args:
        scores: Inputs of a layer along the second axis.
        n: How many stay in a run.
        m: Length of a run.

    Raises:
        PruningError: The axis is no multiple of ``m``, ``n`` is not in 1 to ``m``, or a score is
            NaN.

    Example:
        >>> n_of_m_mask(torch.tensor([[1.0, 4.0, 3.0, 2.0]]))
        tensor([[False,  True,  True, False]])
    """
    require_runs(scores.shape[1], n, m)
    require_numbers(scores)
    runs = scores.reshape(-1, m)
    order = runs.argsort(dim=1, descending=True, stable=True)[:, :n]
    mask = torch.zeros_like(runs, dtype=torch.bool).scatter(1, order, True)
    return mask.view(scores.shape)


def n_of_m_masks_in_part(
    scores: Sequence[Float[Tensor, "_ _"]], sparsity: float, n: int = 2, m: int = 4
) -> list[Bool[Tensor, "_ _"]]:
    """Masks on the way to ``n`` of ``m``: the smallest of those weights that will go have gone.

    What is removed is always a part of what :func:`n_of_m_mask` removes, which it is at the end. So
    a schedule can go there step by step, all weights together.

    Args:
        scores: One matrix for each weight, inputs along the second axis.
        sparsity: Share of all weights that has gone, in [0, 1 - n/m].
        n: How many stay in a run at the end.
        m: Length of a run.

    Raises:
        PruningError: The sparsity is above ``1 - n/m``, an axis is no multiple of ``m``, or a score
            is NaN.

    Example:
        >>> n_of_m_masks_in_part([torch.tensor([[4.0, 1.0, 3.0, 2.0]])], 0.25)
        [tensor([[ True, False,  True,  True]])]
    """
    require_pattern_sparsity(sparsity, n, m)
    stay = [n_of_m_mask(s, n, m).flatten() for s in scores]
    joined = torch.cat(
        [s.flatten().masked_fill(k, torch.inf) for s, k in zip(scores, stay, strict=True)]
    )
    kept = _without_smallest(joined, _count(len(joined), sparsity))
    return [
        mask.view(s.shape)
        for mask, s in zip(kept.split([s.numel() for s in scores]), scores, strict=True)
    ]


def cubic_sparsity(step: int, *, begin: int, end: int, final: float, initial: float = 0.0) -> float:
    """Sparsity at a step: fast at first, slow at the end.

    ``s_f + (s_i - s_f) · (1 - (t - t_0) / T)³`` (Zhu & Gupta 2017, equation 1).

    Example:
        >>> [cubic_sparsity(t, begin=0, end=4, final=0.64) for t in (0, 2, 4, 9)]
        [0.0, 0.56, 0.64, 0.64]
    """
    return final + (initial - final) * (1 - _progress(step, begin, end)) ** 3


def linear_sparsity(
    step: int, *, begin: int, end: int, final: float, initial: float = 0.0
) -> float:
    """Sparsity at a step, rising evenly.

    Example:
        >>> linear_sparsity(1, begin=0, end=4, final=0.8)
        0.2
    """
    if step >= end:
        return final  # which initial + (final - initial) need not be in floating point
    return initial + (final - initial) * _progress(step, begin, end)


def iterative_sparsity(rounds: int, *, share: float = 0.2) -> float:
    """Sparsity after rounds that each take a share of what is left: ``1 - (1 - share)^k``.

    Frankle & Carbin 2019 take 20 % a round.

    Example:
        >>> [round(iterative_sparsity(k), 4) for k in range(1, 6)]
        [0.2, 0.36, 0.488, 0.5904, 0.6723]
    """
    return float(1 - (1 - share) ** rounds)


def stepped_sparsity(
    step: int,
    *,
    begin: int,
    end: int,
    final: float,
    initial: float = 0.0,
    share: float = 0.2,
) -> float:
    """Sparsity at a step, rising in rounds that each take a share of what is left.

    :func:`iterative_sparsity` over time: the rounds are equally long, and the last, at ``end``,
    takes no more than leads to ``final``.

    Example:
        >>> [round(stepped_sparsity(t, begin=0, end=4, final=0.5), 3) for t in (0, 1, 2, 3, 4)]
        [0.0, 0.2, 0.36, 0.488, 0.5]
    """
    needed = math.log((1 - final) / (1 - initial)) / math.log(1 - share)
    rounds = max(math.ceil(needed - 1e-9), 1)
    done = math.floor(_progress(step, begin, end) * rounds + 1e-9)
    if done >= rounds:
        return final
    return 1 - (1 - initial) * (1 - iterative_sparsity(done, share=share))


def _progress(step: int, begin: int, end: int) -> float:
    if step >= end:
        return 1.0
    return max(step - begin, 0) / (end - begin)
