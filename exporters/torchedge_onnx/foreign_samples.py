"""Samples of a folder for the inputs of an ONNX file: pictures, arrays, or several arrays each."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from torchedge.batches.files import ARRAYS
from torchedge.batches.folders import InputSpec
from torchedge.batches.pictures import PICTURES
from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, UsageError
from torchedge.exporting.normalisation import Normalisation
from torchedge_onnx.foreign_sizes import Input, shown
from torchedge_onnx.sample_folder import Taken, taken_batches

__all__ = ["normalisation_for", "require_usable", "samples_for"]

_Numbers: TypeAlias = tuple[float, ...]

_WHITE = 255  # the largest value of a pixel
_COLOURS = frozenset({1, 3})
_IMAGE_AXES = 4


def samples_for(
    folder: Path,
    model: Path,
    inputs: tuple[Input, ...],
    *,
    batch_size: int | None = None,
    mean: _Numbers = (0.0, 0.0, 0.0),
    std: _Numbers = (1.0, 1.0, 1.0),
) -> Iterator[tuple[Array, ...]]:
    """Batches for any network of tensors, from a folder, in order of names.

    One input takes pictures, in its own order of axes, or ``.npy`` files, each one sample. An input
    of whole numbers takes pixels as they are. Several inputs take ``.npz`` files, each one sample
    with an array for every input, by its name.

    Args:
        folder: Holds them.
        model: For texts.
        inputs: Of :func:`torchedge_onnx.foreign_sizes.inputs_of`.
        batch_size: Where the model leaves it open; default 1.
        mean: Subtracted from each channel of a picture in [0, 1].
        std: Then divides them.

    Raises:
        CalibrationError: There are no such files, or one does not fit.
        UsageError: A size is open, or a mean or deviation is no number to use.
    """
    require_usable(mean, std)
    fixed = tuple(_with_batch(model, each, batch_size) for each in inputs)
    if len(fixed) == 1 and (_has(folder, PICTURES) or fixed[0].dtype == "float32"):
        return _of_one_input(folder, model, fixed[0], mean, std)
    if any(mean) or any(value != 1 for value in std):
        raise UsageError("mean and std are for pictures; leave them out.")
    return _of_arrays(folder, fixed)


def normalisation_for(
    folder: Path, inputs: tuple[Input, ...], *, mean: _Numbers, std: _Numbers
) -> Normalisation | None:
    """What :func:`samples_for` does to pixels of 0 to 255; ``None`` where there are arrays.

    Also where it differs by channel and channels come last: an artefact says it for axis 1 alone.
    """
    if len(inputs) != 1 or inputs[0].dtype != "float32" or _has(folder, ARRAYS):
        return None
    shape = inputs[0].sizes
    channels = _channels(inputs[0])
    means, deviations = (tuple(v * _WHITE for v in given[:channels]) for given in (mean, std))
    if not _is_channels_last(shape):
        return Normalisation(mean=means, deviation=deviations)
    if len(set(means)) == 1 and len(set(deviations)) == 1:
        return Normalisation(mean=means[:1], deviation=deviations[:1])
    return None


def require_usable(mean: _Numbers, std: _Numbers) -> None:
    """Refuse numbers that pixels cannot be normalised with.

    Raises:
        UsageError: A mean is not finite, or a deviation is not above zero or not finite.

    Example:
        >>> require_usable((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    """
    if not all(math.isfinite(value) for value in mean):
        raise UsageError(f"--mean {_listed(mean)} is not finite; give numbers, say 0.485.")
    if not all(math.isfinite(value) and value > 0 for value in std):
        raise UsageError(
            f"--std {_listed(std)} divides pixels; give finite numbers above zero, say 0.229."
        )


def _listed(values: _Numbers) -> str:
    return " ".join(f"{value:g}" for value in values)


def _has(folder: Path, endings: frozenset[str]) -> bool:
    """Whether there are such files, in sub-folders too."""
    return any(path.suffix.lower() in endings for path in (folder, *folder.rglob("*")))


def _with_batch(model: Path, found: Input, batch_size: int | None) -> Input:
    if not found.is_fixed or not found.sizes:
        raise UsageError(
            f"input '{found.name}' of '{model}' has the open shape {shown(found.sizes)}; fix it "
            f"without the batch, for example --input-size {_example(found)}."
        )
    if found.sizes[0] and batch_size not in {None, found.sizes[0]}:
        raise CalibrationError(f"'{model}' takes batches of {found.sizes[0]}, not {batch_size}.")
    return replace(found, sizes=(found.sizes[0] or batch_size or 1, *found.sizes[1:]))


def _example(found: Input) -> str:
    """A size that would do: what is known, 224 where it is not."""
    return "x".join(str(size or 224) for size in found.sizes[1:]) or "3x224x224"


def _is_channels_last(shape: tuple[int | None, ...]) -> bool:
    is_image = len(shape) == _IMAGE_AXES
    return is_image and shape[-1] in _COLOURS and shape[1] not in _COLOURS


def _channels(found: Input) -> int:
    axis = -1 if _is_channels_last(found.sizes) else 1
    return (found.sizes[axis] or 1) if len(found.sizes) > 1 else 1


def _of_one_input(
    folder: Path, model: Path, found: Input, mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    """Pictures or arrays as the folder gives them, then in the input's axes and type."""
    if not _has(folder, PICTURES):
        return _batches(folder, (found,), mean, std)
    if _has(folder, ARRAYS) and (found.dtype != "float32" or _is_channels_last(found.sizes)):
        raise CalibrationError(
            f"'{folder}' holds arrays and pictures, and '{model}' takes {found.dtype} "
            f"{shown(found.sizes)}; put them into two folders and give one."
        )
    if found.dtype != "float32":
        return _whole_pixels(folder, model, found, mean, std)
    return _pictures(folder, found, mean, std)


def _whole_pixels(
    folder: Path, model: Path, found: Input, mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    if any(mean) or any(value != 1 for value in std):
        raise UsageError(
            f"'{model}' takes {found.dtype}, pixels as they are; leave mean and std out."
        )
    back = (1 / _WHITE,) * len(std)  # divides by 255 what was divided by 255
    for (batch,) in _pictures(folder, found, mean, back):
        yield (np.rint(batch).astype(found.dtype),)


def _pictures(
    folder: Path, found: Input, mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    shape, as_float = found.sizes, replace(found, dtype="float32")
    if not _is_channels_last(shape):
        yield from _batches(folder, (as_float,), mean, std)
        return
    first = replace(as_float, sizes=(shape[0], shape[3], *shape[1:3]))
    for (batch,) in _batches(folder, (first,), mean, std):
        yield (np.ascontiguousarray(batch.transpose(0, 2, 3, 1)),)


def _of_arrays(folder: Path, inputs: tuple[Input, ...]) -> Iterator[tuple[Array, ...]]:
    return _batches(folder, inputs, (0.0,), (1.0,))


def _batches(
    folder: Path, inputs: tuple[Input, ...], mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    taken = Taken(
        batch_size=inputs[0].sizes[0] or 1,
        inputs=tuple(
            InputSpec(name=e.name, shape=tuple(n or 1 for n in e.sizes[1:]), dtype=e.dtype)
            for e in inputs
        ),
    )
    return (batch.inputs for batch in taken_batches(folder, taken, mean=mean, std=std))
