"""Calibration data from a folder of arrays or pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, UsageError
from torchedge.export.normalisation import Normalisation

__all__ = ["folder_batches", "folder_normalisation"]

_WHITE = 255  # the largest value of a pixel
_ARRAYS = frozenset({".npy"})
_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


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
        UsageError: There is a mean or deviation, and no picture.
    """
    shape = _input_shape(model, batch_size)
    files = _files(folder, _ARRAYS | _PICTURES)
    if len(files) < shape[0]:
        raise CalibrationError(
            f"'{folder}' holds {len(files)} .npy files and pictures, fewer than the batch of "
            f"{shape[0]}; give some 100 to 500."
        )
    changed = any(mean) or any(value != 1 for value in std)
    if changed and not _files(folder, _PICTURES):
        raise UsageError(
            f"'{folder}' holds arrays only, which are taken as they are; leave mean and std out, "
            "or normalise them before you save them."
        )
    return _batches(files, shape, np.asarray(mean, np.float32), np.asarray(std, np.float32))


def folder_normalisation(
    folder: Path,
    model: Path,
    *,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> Normalisation | None:
    """What :func:`folder_batches` does to pixels of 0 to 255; ``None`` where there are arrays.

    Args:
        folder: Likewise.
        model: Its input gives the number of channels.
        mean: Likewise.
        std: Likewise.

    Raises:
        CalibrationError: The model has several inputs or open sizes.
        UsageError: A deviation is not above zero.
    """
    channels = _input_shape(model, None)[1]
    if _files(folder, _ARRAYS):
        return None
    return Normalisation(
        mean=tuple(value * _WHITE for value in mean[:channels]),
        deviation=tuple(value * _WHITE for value in std[:channels]),
    )


def _files(folder: Path, endings: frozenset[str]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in endings)


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
    values = np.asarray(scaled, dtype=np.float32).reshape(height, width, channels) / _WHITE
    values = (values - mean[:channels]) / std[:channels]
    return np.asarray(np.ascontiguousarray(values.transpose(2, 0, 1)), dtype=np.float32)


def _input_shape(model: Path, batch_size: int | None) -> tuple[int, ...]:
    from torchedge_onnx.census import read_model
    from torchedge_onnx.graph import real_inputs

    graph = read_model(model)
    inputs = real_inputs(graph)
    dims = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else ()
    sizes = [dim.dim_value for dim in dims]
    if not sizes or min(sizes[1:], default=0) < 1:
        raise CalibrationError(
            f"'{model}' has {len(inputs)} inputs or open sizes; a folder fits networks with one "
            "input of fixed size. Give batches of your own from Python."
        )
    if sizes[0] and batch_size not in {None, sizes[0]}:
        raise CalibrationError(f"'{model}' takes batches of {sizes[0]}, not {batch_size}.")
    return (sizes[0] or batch_size or 1, *sizes[1:])
