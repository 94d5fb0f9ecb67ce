"""How long one inference takes, on the machine that measures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array, Session
from torchedge.errors import UsageError

__all__ = ["Latency", "latency_ratio", "measure_latency"]


@final
@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of the wall time of single inferences, in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int


def _once_ms(session: Session, inputs: Sequence[Array]) -> float:
    begin = time.perf_counter_ns()
    session(*inputs)
    return (time.perf_counter_ns() - begin) / 1e6


def _summary(times_ms: Sequence[float]) -> Latency:
    p50, p90, p99 = np.percentile(times_ms, [50, 90, 99])
    return Latency(p50_ms=float(p50), p90_ms=float(p90), p99_ms=float(p99), runs=len(times_ms))


def measure_latency(
    session: Session, inputs: Sequence[Array], *, warmup: int = 20, runs: int = 200
) -> Latency:
    """Time single inferences after a warm-up that is not counted.

    Args:
        session: An opened artefact.
        inputs: One set of inputs, used every time.
        warmup: Runs before the clock starts.
        runs: Runs that count.

    Raises:
        UsageError: ``runs`` is below 1 or ``warmup`` below 0.

    Example:
        >>> measure_latency(lambda *x: x, [np.zeros(1)], warmup=1, runs=3).runs
        3
    """
    if runs < 1 or warmup < 0:
        raise UsageError(f"{runs} runs after {warmup} of warm-up; give at least 1 and 0.")
    for _ in range(warmup):
        session(*inputs)
    return _summary([_once_ms(session, inputs) for _ in range(runs)])


def latency_ratio(
    slow: Session, fast: Session, inputs: Sequence[Array], *, warmup: int = 20, runs: int = 200
) -> tuple[Latency, Latency, float]:
    """Time two sessions in turn, so that a drift of the machine's speed meets both.

    Returns:
        Both latencies, and the median over the pairs of ``slow / fast``: above 1, ``fast`` wins.

    Raises:
        UsageError: ``runs`` is below 1 or ``warmup`` below 0.
    """
    if runs < 1 or warmup < 0:
        raise UsageError(f"{runs} runs after {warmup} of warm-up; give at least 1 and 0.")
    for _ in range(warmup):
        slow(*inputs)
        fast(*inputs)
    pairs = [(_once_ms(slow, inputs), _once_ms(fast, inputs)) for _ in range(runs)]
    ratio = float(np.median([first / second for first, second in pairs]))
    return _summary([p[0] for p in pairs]), _summary([p[1] for p in pairs]), ratio
