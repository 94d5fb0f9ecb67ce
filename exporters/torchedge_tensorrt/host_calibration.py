"""Entropy calibration of any float ONNX file on the computer that exports, without a GPU.

Memory does not depend on the number of samples: a batch is run, counted and dropped.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, CalibrationError
from torchedge.export.artifact import file_record

if TYPE_CHECKING:
    import onnx

__all__ = [
    "CALIBRATION_FILE",
    "HostCalibration",
    "calibrate_onnx",
    "calibration_record",
    "folder_batches",
    "require_pair",
    "write_calibration",
]

CALIBRATION_FILE = "calibration.json"
_CACHE_FILE = "calibration.cache"
_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@final
@dataclass(frozen=True, kw_only=True)
class HostCalibration:
    """Scales with what they were made from.

    Args:
        scales: One for each float tensor, by its name, in graph order.
        samples: How many samples were seen.
        model_sha256: Digest of the ONNX file.
        data_sha256: Digest over the bytes of all samples, in order.
    """

    scales: dict[str, float]
    samples: int
    model_sha256: str
    data_sha256: str


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
        ArtifactError: The file is damaged.
        CalibrationError: There is no data, or it is not finite.
    """
    from torchedge_onnx.census import read_model
    from torchedge_tensorrt.ranges import entropy_scales, float_tensors

    graph = read_model(model)
    if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        raise ArtifactError(
            f"'{model}' has QuantizeLinear nodes, so TensorRT ignores a cache beside "
            "them. Give the float network."
        )
    counted = _Counted(_shown(batches) if progress else batches)
    scales = entropy_scales(graph, float_tensors(graph), counted)
    return HostCalibration(
        scales={name: scales[name] for name in float_tensors(graph)},
        samples=counted.samples,
        model_sha256=file_record(model).sha256,
        data_sha256=counted.digest.hexdigest(),
    )


def _shown(batches: Iterable[tuple[Array, ...]]) -> Iterable[tuple[Array, ...]]:
    from rich.console import Console
    from rich.progress import track

    return track(batches, description="calibrating", console=Console(stderr=True))


def write_calibration(found: HostCalibration, folder: Path, tensorrt: tuple[int, int, int]) -> None:
    """Write ``calibration.cache`` and ``calibration.json``, which ties it to its model."""
    from torchedge_tensorrt.calibration_cache import format_cache

    (folder / _CACHE_FILE).write_text(format_cache(found.scales, tensorrt))
    record = calibration_record(
        folder / _CACHE_FILE,
        model_sha256=found.model_sha256,
        data_sha256=found.data_sha256,
        samples=found.samples,
        tensors=len(found.scales),
    )
    (folder / CALIBRATION_FILE).write_text(record)


def calibration_record(
    cache: Path, *, model_sha256: str, data_sha256: str, samples: int, tensors: int
) -> str:
    """Text of ``calibration.json``: which cache was made for which model from which data.

    The first line of the cache is left out of its digest, because a board rewrites it.
    """
    return (
        json.dumps(
            {
                "scales_sha256": _scales_sha256(cache.read_text()),
                "model_sha256": model_sha256,
                "data_sha256": data_sha256,
                "samples": samples,
                "tensors": tensors,
            },
            indent=2,
        )
        + "\n"
    )


def _scales_sha256(text: str) -> str:
    return hashlib.sha256(text.partition("\n")[2].encode()).hexdigest()


def require_pair(folder: Path, model: Path) -> None:
    """Refuse a cache that was made for another model, or changed since.

    Args:
        folder: Holds ``calibration.cache`` and ``calibration.json``.
        model: The float ONNX file that it is to be used with.

    Raises:
        ArtifactError: They do not belong together.
    """
    try:
        record: dict[str, Any] = json.loads((folder / CALIBRATION_FILE).read_text())
        made_for, scales = str(record["model_sha256"]), str(record["scales_sha256"])
        text = (folder / _CACHE_FILE).read_text()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"'{folder}' holds no calibration with its record ({error}); calibrate again."
        ) from error
    if made_for != (found := file_record(model).sha256):
        raise ArtifactError(
            f"the cache in '{folder}' was made for the model {made_for[:12]}…, and '{model}' is "
            f"{found[:12]}…; calibrate this model."
        )
    if scales != _scales_sha256(text):
        raise ArtifactError(f"the scales in '{folder}' were changed since; calibrate again.")


def folder_batches(
    folder: Path,
    model: Path,
    *,
    batch_size: int | None = None,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> Iterator[tuple[Array, ...]]:
    """Batches for a model with one input, from a folder of arrays or pictures, in order of names.

    The last samples that do not fill a batch are left out.

    Args:
        folder: Holds ``.npy`` files, each one sample, or pictures.
        model: Its input gives the shape.
        batch_size: Where the model leaves it open; default 1.
        mean: Subtracted from each channel of a picture in [0, 1].
        std: Then divides each channel.

    Raises:
        CalibrationError: There are no such files, or one has another shape.
    """
    shape = _input_shape(model, batch_size)
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in {".npy", *_PICTURES})
    if len(files) < shape[0]:
        raise CalibrationError(
            f"'{folder}' holds {len(files)} .npy files and pictures, fewer than the batch of "
            f"{shape[0]}; give some 100 to 500."
        )
    return _batches(files, shape, np.asarray(mean, np.float32), np.asarray(std, np.float32))


def _batches(
    files: list[Path], shape: tuple[int, ...], mean: Array, std: Array
) -> Iterator[tuple[Array, ...]]:
    for begin in range(0, len(files) - shape[0] + 1, shape[0]):
        samples = [_sample(f, shape[1:], mean, std) for f in files[begin : begin + shape[0]]]
        yield (np.stack(samples),)


def _sample(path: Path, shape: tuple[int, ...], mean: Array, std: Array) -> Array:
    try:
        read = _array if path.suffix.lower() == ".npy" else _picture
        sample = read(path, shape, mean, std)
    except (OSError, ValueError) as error:
        raise CalibrationError(f"'{path}' cannot be read ({error}); leave it out.") from error
    if sample.shape != shape:
        raise CalibrationError(
            f"'{path}' has the shape {list(sample.shape)}, the network takes {list(shape)}."
        )
    return sample


def _array(path: Path, shape: tuple[int, ...], mean: Array, std: Array) -> Array:
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)


def _picture(path: Path, shape: tuple[int, ...], mean: Array, std: Array) -> Array:
    from PIL import Image

    channels, height, width = shape
    with Image.open(path) as picture:
        scaled = picture.convert("L" if channels == 1 else "RGB").resize((width, height))
    values = np.asarray(scaled, dtype=np.float32).reshape(height, width, channels) / 255
    values = (values - mean[:channels]) / std[:channels]
    return np.asarray(np.ascontiguousarray(values.transpose(2, 0, 1)), dtype=np.float32)


def _input_shape(model: Path, batch_size: int | None) -> tuple[int, ...]:
    from torchedge_onnx.census import read_model

    graph = read_model(model).graph
    inputs = _real_inputs(graph)
    dims = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else ()
    sizes = [dim.dim_value for dim in dims]
    if not sizes or min(sizes[1:], default=0) < 1:
        raise CalibrationError(
            f"'{model}' has {len(inputs)} inputs or open sizes; a folder fits networks with one "
            "input of fixed size. Call calibrate_onnx with batches of your own."
        )
    if sizes[0] and batch_size not in {None, sizes[0]}:
        raise CalibrationError(f"'{model}' takes batches of {sizes[0]}, not {batch_size}.")
    return (sizes[0] or batch_size or 1, *sizes[1:])


def _real_inputs(graph: "onnx.GraphProto") -> "list[onnx.ValueInfoProto]":
    constant = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constant]
