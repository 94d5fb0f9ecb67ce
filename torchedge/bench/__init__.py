"""What an artefact really does: run, compared, counted and timed."""

from torchedge.bench.census import Census, LayerCount
from torchedge.bench.latency import Latency, latency_ratio, measure_latency
from torchedge.bench.parity import OutputParity, Parity, compare, top1_accuracy
from torchedge.bench.session import Array, CountsIntegers, HasFloatTwin, Runner, Session

__all__ = [
    "Array",
    "Census",
    "CountsIntegers",
    "HasFloatTwin",
    "Latency",
    "LayerCount",
    "OutputParity",
    "Parity",
    "Runner",
    "Session",
    "compare",
    "latency_ratio",
    "measure_latency",
    "top1_accuracy",
]
