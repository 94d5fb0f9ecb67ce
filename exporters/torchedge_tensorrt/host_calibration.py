"""Entropy calibration of any float ONNX file on the computer that exports, without a GPU.

Memory does not depend on the number of samples: a batch is run, counted and dropped.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.export.artifact import file_record
from torchedge_tensorrt.calibration_record import HostCalibration

__all__ = ["calibrate_onnx"]


@final
class _Counted:
    """Passes batches on, and knows afterwards how many samples they held and their digest."""

    def __init__(self, batches: Iterable[tuple[Array, ...]]) -> None:
        self.samples = 0
        self.digest = hashlib.sha256()
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        for batch in self._batches:
            self.samples += len(batch[0])
            for array in batch:
                self.digest.update(np.ascontiguousarray(array).data)
            yield batch


def calibrate_onnx(
    model: Path, batches: Iterable[tuple[Array, ...]], *, progress: bool = False
) -> HostCalibration:
    """Entropy scale of every float tensor of a network without Q/DQ.

    Args:
        model: Float ONNX file.
        batches: Any iterable of tuples, one array for each input; read once.
        progress: Show a bar on the error stream.

    Raises:
        ArtifactError: The file is damaged, or has Q/DQ.
        CalibrationError: There is no data, or it is not finite.
    """
    from torchedge_tensorrt.ranges import entropy_scales, float_model, float_tensors

    graph = float_model(model)
    counted = _Counted(_shown(batches) if progress else batches)
    names = float_tensors(graph)
    scales = entropy_scales(graph, names, counted)
    return HostCalibration(
        scales={name: scales[name] for name in names},
        samples=counted.samples,
        model_sha256=file_record(model).sha256,
        data_sha256=counted.digest.hexdigest(),
    )


def _shown(batches: Iterable[tuple[Array, ...]]) -> Iterable[tuple[Array, ...]]:
    from rich.console import Console
    from rich.progress import track

    return track(batches, description="calibrating", console=Console(stderr=True))
