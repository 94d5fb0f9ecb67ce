"""What an artefact really does: run, compared, counted and timed."""

from torchedge.bench.census import Census, LayerCount
from torchedge.bench.fit import Fit, Memory, MemoryPart
from torchedge.bench.latency import Latency, latency_ratio, measure_latency
from torchedge.bench.parity import OutputParity, Parity, compare, top1_accuracy
from torchedge.bench.session import (
    Array,
    CountsIntegers,
    HasFloatTwin,
    Runner,
    Session,
    WeighsMemory,
)

__all__ = [
    "Array",
    "Census",
    "CountsIntegers",
    "Fit",
    "HasFloatTwin",
    "Latency",
    "LayerCount",
    "Memory",
    "MemoryPart",
    "OutputParity",
    "Parity",
    "Runner",
    "Session",
    "WeighsMemory",
    "compare",
    "latency_ratio",
    "measure_latency",
    "top1_accuracy",
]
