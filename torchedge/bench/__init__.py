"""What an artefact really does: run, compared, counted and timed."""

from torchedge.bench.census import Census, LayerCount, OperatorCount, operators_text
from torchedge.bench.gate import Gate, likeness_text
from torchedge.bench.latency import Latency, latency_ratio, measure_latency
from torchedge.bench.memory import Fit, Memory, MemoryPart
from torchedge.bench.parity import (
    OutputParity,
    Parity,
    compare,
    compare_answers,
    top1_accuracy,
)
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
    "Gate",
    "HasFloatTwin",
    "Latency",
    "LayerCount",
    "Memory",
    "MemoryPart",
    "OperatorCount",
    "OutputParity",
    "Parity",
    "Runner",
    "Session",
    "WeighsMemory",
    "compare",
    "compare_answers",
    "latency_ratio",
    "likeness_text",
    "measure_latency",
    "operators_text",
    "top1_accuracy",
]
