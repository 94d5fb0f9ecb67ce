"""What TensorRT's tools and a Jetson print, as values; pure functions that never fail on text.

The parsers that a board needs live in the bundle's scripts and are used from there. A log that was
cut short gives what it holds.
"""

import json
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from torchedge_tensorrt.device_scripts import benchmark as on_board
from torchedge_tensorrt.device_scripts import build_engine as builder

__all__ = [
    "LayerTime",
    "Times",
    "exported_layers",
    "exported_profile",
    "exported_times",
    "int8_share",
    "nvpmodel",
    "tegrastats",
    "trtexec",
]


@final
@dataclass(frozen=True, kw_only=True)
class Times:
    """GPU times out of ``--exportTimes``, in milliseconds."""

    queries: int
    median_ms: float
    p99_ms: float
    mean_ms: float


@final
@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One layer out of ``--exportProfile``."""

    name: str
    average_ms: float
    percentage: float


def trtexec(text: str) -> dict[str, float]:
    """Figures by name, out of the output of TensorRT 7 to 11.

    Example:
        >>> trtexec("[I] Throughput: 500.5 qps")
        {'throughput_per_s': 500.5}
    """
    return dict(on_board.trtexec_figures(text))


def tegrastats(line: str) -> dict[str, Any]:
    """Power of each rail, temperatures, load and clock of the GPU, RAM; JetPack 4 to 7.

    Example:
        >>> tegrastats("GR3D_FREQ 63%@[621] gpu@53.5C VDD_IN 12479mW/12479mW")["power_mw"]
        {'VDD_IN': 12479}
    """
    return dict(on_board.parse_tegrastats(line))


def nvpmodel(text: str) -> tuple[str | None, int | None]:
    r"""Name and number of the power mode.

    Example:
        >>> nvpmodel("NV Power Mode: MAXN\n0\n")
        ('MAXN', 0)
    """
    name, number = on_board.parse_nvpmodel(text)
    return name, number


def exported_times(text: str) -> Times | None:
    """Summary of ``--exportTimes``; ``None`` where no record is whole.

    Example:
        >>> exported_times('[{"computeMs": 1.0}, {"computeMs": 3.0}]').median_ms
        2.0
    """
    values = [
        float(record["computeMs"])
        for record in _records(text)
        if isinstance(record.get("computeMs"), int | float)
    ]
    finite = np.array([value for value in values if np.isfinite(value)])
    if not finite.size:
        return None
    return Times(
        queries=len(finite),
        median_ms=float(np.median(finite)),
        p99_ms=float(np.percentile(finite, 99)),
        mean_ms=float(finite.mean()),
    )


def exported_profile(text: str) -> tuple[LayerTime, ...]:
    """Layers of ``--exportProfile``; the first record, a count, is left out."""
    return tuple(
        LayerTime(
            name=str(record["name"]),
            average_ms=float(record["averageMs"]),
            percentage=float(record["percentage"]),
        )
        for record in _records(text)
        if "name" in record and _has_numbers(record, "averageMs", "percentage")
    )


def exported_layers(text: str) -> dict[str, Any]:
    """``--exportLayerInfo`` as parsed; empty where it is cut short or badly escaped."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("Layers"), list) else {}


def int8_share(text: str) -> tuple[int, int]:
    """Layers with an INT8 output, and all layers, out of ``--exportLayerInfo``."""
    integer, total = builder.int8_layers(exported_layers(text))
    return int(integer), int(total)


def _has_numbers(record: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(record.get(key), int | float) for key in keys)


def _records(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return (
        [record for record in found if isinstance(record, dict)] if isinstance(found, list) else []
    )
