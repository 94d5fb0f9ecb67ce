"""Samples of a folder for the inputs of an ONNX file: pictures, arrays, or several arrays each."""

import math
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from torchedge.batches.pictures import PICTURES
from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, UsageError
from torchedge.export.normalisation import Normalisation
from torchedge.writing import temporary_folder
from torchedge_onnx.foreign_sizes import Input, shown

__all__ = ["normalisation_for", "require_usable", "samples_for"]

_Numbers: TypeAlias = tuple[float, ...]

_WHITE = 255  # the largest value of a pixel
_COLOURS = frozenset({1, 3})
_IMAGE_AXES = 4
_ARRAYS = frozenset({".npy", ".npz"})


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
    if len(inputs) != 1 or inputs[0].dtype != "float32" or _has(folder, _ARRAYS):
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
        return _batches(folder, model, found.sizes, mean, std)
    if _has(folder, _ARRAYS) and (found.dtype != "float32" or _is_channels_last(found.sizes)):
        raise CalibrationError(
            f"'{folder}' holds arrays and pictures, and '{model}' takes {found.dtype} "
            f"{shown(found.sizes)}; put them into two folders and give one."
        )
    if found.dtype != "float32":
        return _whole_pixels(folder, model, found, mean, std)
    return _pictures(folder, model, found, mean, std)


def _whole_pixels(
    folder: Path, model: Path, found: Input, mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    if any(mean) or any(value != 1 for value in std):
        raise UsageError(
            f"'{model}' takes {found.dtype}, pixels as they are; leave mean and std out."
        )
    back = (1 / _WHITE,) * len(std)  # divides by 255 what was divided by 255
    for (batch,) in _pictures(folder, model, found, mean, back):
        yield (np.rint(batch).astype(found.dtype),)


def _pictures(
    folder: Path, model: Path, found: Input, mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    shape = found.sizes
    if not _is_channels_last(shape):
        yield from _batches(folder, model, shape, mean, std)
        return
    for (batch,) in _batches(folder, model, (shape[0], shape[3], *shape[1:3]), mean, std):
        yield (np.ascontiguousarray(batch.transpose(0, 2, 3, 1)),)


def _batches(
    folder: Path, model: Path, shape: tuple[int | None, ...], mean: _Numbers, std: _Numbers
) -> Iterator[tuple[Array, ...]]:
    """Of a network that takes this shape and is called like the file."""
    import onnx
    from onnx import TensorProto, helper

    from torchedge_onnx.sample_folder import folder_batches

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "shape", [x], [y])
    with temporary_folder("onnx") as name:
        path = Path(name, model.name)
        onnx.save(helper.make_model(graph), path)
        yield from folder_batches(folder, path, mean=mean, std=std)


def _of_arrays(folder: Path, inputs: tuple[Input, ...]) -> Iterator[tuple[Array, ...]]:
    several = len(inputs) > 1
    ending, what = (".npz", "one array for each input") if several else (".npy", "one sample")
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() == ending)
    size = inputs[0].sizes[0] or 1
    if len(files) < size:
        raise CalibrationError(
            f"'{folder}' holds {len(files)} {ending} files, fewer than the batch of {size}; give "
            f"some 100 to 500, each with {what}"
            + (f": {', '.join(each.name for each in inputs)}." if several else ".")
        )
    for begin in range(0, len(files) - size + 1, size):
        samples = [_arrays(path, inputs) for path in files[begin : begin + size]]
        yield tuple(np.stack(column) for column in zip(*samples, strict=True))


def _arrays(path: Path, inputs: tuple[Input, ...]) -> tuple[Array, ...]:
    try:
        held = np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".npy":
            held = {each.name: held for each in inputs}
        arrays = {name: np.asarray(held[name]) for name in held}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"'{path}' cannot be read ({error}); leave it out.") from error
    return tuple(_fitting(path, each, arrays) for each in inputs)


def _fitting(path: Path, wanted: Input, arrays: dict[str, Array]) -> Array:
    """The array of an input, in its type where no number is lost."""
    if wanted.name not in arrays:
        raise CalibrationError(
            f"'{path}' holds {', '.join(arrays) or 'nothing'}, but no '{wanted.name}'; write "
            "numpy.savez(path, **{name: array of one sample}) with the names of all inputs."
        )
    array = arrays[wanted.name]
    if array.shape != wanted.sizes[1:]:
        raise CalibrationError(
            f"'{path}' has the shape {list(array.shape)} for '{wanted.name}', the network takes "
            f"{shown(wanted.sizes[1:])}."
        )
    if array.dtype.kind not in "biuf" or not np.all(np.isfinite(array)):
        raise CalibrationError(
            f"'{path}' holds {array.dtype} that is not all finite for '{wanted.name}'; leave it "
            "out."
        )
    with np.errstate(all="ignore"):
        cast = array.astype(wanted.dtype)
    if cast.dtype.kind != "f" and not np.array_equal(cast, array):
        raise CalibrationError(
            f"'{path}' holds {array.dtype} from {array.min():g} to {array.max():g} for "
            f"'{wanted.name}', which takes {wanted.dtype}; save whole numbers in its range."
        )
    return cast
