"""Calibration of any float ONNX file on the computer that exports, without a GPU.

Memory does not depend on the number of samples: a batch is run, counted and dropped.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import UnknownNameError
from torchedge.exporting.artifact import file_record
from torchedge_tensorrt.calibration_record import HostCalibration

if TYPE_CHECKING:
    from torchedge.quantization import RangeRule

__all__ = ["Method", "calibrate_onnx"]

Method: TypeAlias = Literal["entropy", "mse", "minmax"]


@final
class _Counted:
    """Passes batches on, and knows afterwards how many samples they held and their digest."""

    def __init__(self, batches: Iterable[tuple[Array, ...]]) -> None:
        self.samples = 0
        self.digest = hashlib.sha256()
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        for batch in self._batches:
            self.samples += len(np.atleast_1d(batch[0])) if batch else 0
            for array in batch:
                self.digest.update(np.ascontiguousarray(array).data)
            yield batch


def calibrate_onnx(
    model: Path,
    batches: Iterable[tuple[Array, ...]],
    *,
    method: Method = "entropy",
    progress: bool = False,
) -> HostCalibration:
    """Scale of every float tensor of a network without Q/DQ.

    Args:
        model: Float ONNX file.
        batches: Any iterable of tuples, one array for each input; read once.
        method: ``entropy`` is TensorRT's rule, with the squared error where that would clip the
            body of the values; ``mse`` the squared error throughout; ``minmax`` clips nothing.
        progress: Show a bar on the error stream.

    Raises:
        UnknownNameError: There is no method of that name.
        ArtifactError: The file is missing or damaged, cannot be run on the data, or has Q/DQ.
        UsageError: It is no plain network of tensors.
        CalibrationError: There is no data, or it is not finite.
    """
    from torchedge.quantization.clipping import notes_on
    from torchedge_tensorrt.scales import chosen_ranges, float_model, float_tensors, scales_of

    rule = _rule(method)
    graph = float_model(model)
    counted = _Counted(_shown(batches) if progress else batches)
    names = float_tensors(graph)
    chosen = chosen_ranges(graph, names, counted, rule)
    scales = scales_of(chosen)
    return HostCalibration(
        method=method,
        notes=(*_on_functions(model), *notes_on(chosen)),
        scales={name: scales[name] for name in names if name in scales},
        samples=counted.samples,
        model_sha256=file_record(model).sha256,
        data_sha256=counted.digest.hexdigest(),
    )


def _on_functions(path: Path) -> tuple[str, ...]:
    import onnx

    if not onnx.load(path, load_external_data=False).functions:
        return ()
    return (
        "the network has local functions, whose inner tensors TensorRT calls otherwise than this "
        "cache; build from model_qdq.onnx, which --qdq writes",
    )


def _rule(method: Method) -> "RangeRule":
    from torchedge.quantization import entropy, minmax, mse

    rules: dict[str, RangeRule] = {"entropy": entropy, "mse": mse, "minmax": minmax}
    if method not in rules:
        raise UnknownNameError(f"there is no method '{method}'; choose of {', '.join(rules)}.")
    return rules[method]


def _shown(batches: Iterable[tuple[Array, ...]]) -> Iterable[tuple[Array, ...]]:
    from rich.console import Console
    from rich.progress import track

    return track(batches, description="calibrating", console=Console(stderr=True))
