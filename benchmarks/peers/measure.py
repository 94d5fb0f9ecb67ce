"""Figures that mean the same for everyone: ratios of times, and distance from the float network."""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from torchedge.errors import UsageError

__all__ = ["Timing", "interleaved", "sqnr_db", "top1_agreement"]


@final
@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one contestant took.

    Args:
        median_ms: Wall time of one call.
        ratio: Median over the rounds of its time as a multiple of the first contestant's.
        fastest_ratio: Its shortest time over the first's: what is left where nothing disturbed.
    """

    median_ms: float
    ratio: float
    fastest_ratio: float


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


def _timing(times: tuple[float, ...], first: list[float]) -> Timing:
    ratios = [mine / theirs for mine, theirs in zip(times, first, strict=True)]
    return Timing(
        median_ms=statistics.median(times),
        ratio=statistics.median(ratios),
        fastest_ratio=min(times) / min(first),
    )


def _turn(works: tuple[Callable[[], object], ...], order: Sequence[int]) -> list[float]:
    """One time of each, at its own place whatever the order of the calls."""
    times = dict(zip(order, (_milliseconds(works[index]) for index in order), strict=True))
    return [times[index] for index in range(len(works))]


def interleaved(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int = 10, warm_ups: int = 2
) -> dict[str, Timing]:
    """Time all of them in turn, round after round, so that a busy machine slows them alike.

    The order within a round is drawn anew (with a fixed seed), so that nobody always follows the
    same neighbour, whose threads may still spin and whose weights fill the cache.

    Args:
        contestants: What to call, by name; ratios are against the first.
        rounds: Calls of each that count.
        warm_ups: Calls of each before the clock starts.

    Raises:
        UsageError: There is no contestant, no round, or a negative number of warm-ups.

    Example:
        >>> interleaved({"one": lambda: None, "other": lambda: None})["one"].ratio
        1.0
    """
    if not contestants or rounds < 1 or warm_ups < 0:
        raise UsageError(
            f"{len(contestants)} contestants, {rounds} rounds, {warm_ups} warm-ups; "
            "give at least 1, 1 and 0."
        )
    works = tuple(contestants.values())
    draw = random.Random(0)
    orders = (draw.sample(range(len(works)), len(works)) for _ in range(warm_ups + rounds))
    turns = [_turn(works, order) for order in orders]
    counted = turns[warm_ups:]
    columns = zip(contestants, zip(*counted, strict=True), strict=True)
    return {name: _timing(times, [turn[0] for turn in counted]) for name, times in columns}


def top1_agreement(logits: Tensor, reference: Tensor) -> float:
    """Share of rows whose largest value is in the same place; both are rows x classes.

    Example:
        >>> import torch
        >>> top1_agreement(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.eye(2))
        0.5
    """
    return float((logits.argmax(1) == reference.argmax(1)).double().mean())


def sqnr_db(values: Tensor, reference: Tensor) -> float:
    """Signal to quantisation noise, ``10 log10(sum(reference²) / sum((reference - values)²))``.

    Infinite where the two are equal.

    Example:
        >>> import torch
        >>> round(sqnr_db(torch.tensor([0.9]), torch.tensor([1.0])), 3)
        20.0
    """
    reference, values = reference.double(), values.double()
    noise = float((reference - values).square().sum())
    return 10 * math.log10(float(reference.square().sum()) / noise) if noise else math.inf
