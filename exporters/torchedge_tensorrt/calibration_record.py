"""A calibration cache beside the record that ties it to its model and its data."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torchedge_tensorrt.calibration_cache import format_cache
from torchedge_tensorrt.jetpacks import Version

__all__ = ["CACHE_FILE", "CALIBRATION_FILE", "HostCalibration", "write_calibration"]

CACHE_FILE = "calibration.cache"
CALIBRATION_FILE = "calibration.json"


@final
@dataclass(frozen=True, kw_only=True)
class HostCalibration:
    """Scales with what they were made from.

    Args:
        scales: One for each float tensor, by its name, in graph order.
        samples: How many samples were seen.
        model_sha256: Digest of the float ONNX file.
        data_sha256: Digest of the samples.
        method: How the scales were chosen.
        notes: Sentences for who reads along: where another rule decided, what is clipped.
    """

    scales: dict[str, float]
    samples: int
    model_sha256: str
    data_sha256: str
    method: str = "entropy"
    notes: tuple[str, ...] = ()


def write_calibration(found: HostCalibration, folder: Path, tensorrt: Version) -> None:
    """Write ``calibration.cache`` and ``calibration.json``; the board refuses them apart.

    The first line of the cache is left out of its digest, because a board rewrites it.

    Raises:
        CalibrationError: A scale is no positive float32 number.
    """
    cache = format_cache(found.scales, tensorrt)
    scales = cache.partition("\n")[2]
    record = {
        "scales_sha256": hashlib.sha256(scales.encode()).hexdigest(),
        "model_sha256": found.model_sha256,
        "data_sha256": found.data_sha256,
        "method": found.method,
        "notes": list(found.notes),
        "samples": found.samples,
        "tensors": len(found.scales),
    }
    (folder / CACHE_FILE).write_text(cache, encoding="utf-8")
    (folder / CALIBRATION_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
