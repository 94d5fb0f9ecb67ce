"""Samples from files: pictures, and arrays that hold what the network sees."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from torchedge.batches.files import SampleFiles
from torchedge.batches.pictures import PICTURES, Array, PixelScale, picture_layout, read_picture
from torchedge.errors import CalibrationError
from torchedge.telling import warn

__all__ = ["LABEL_NAMES", "InputSpec", "Sample", "read_samples", "samples_in"]

_LARGEST_SAMPLE_BYTES = 2**28  # three channels of 4,700 × 4,700 in float32

LABEL_NAMES = frozenset({"label", "labels", "target", "targets", "y", "y_true", "class"})


@final
@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a network takes of one sample.

    Args:
        name: Of the input.
        shape: Without the batch.
        dtype: numpy's name of its elements.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@final
@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample from a file.

    Args:
        inputs: One array for each input of the network, without a batch axis.
        label: Its class, where that is known.
    """

    inputs: tuple[Array, ...]
    label: int | None = None


def read_samples(
    files: SampleFiles, inputs: tuple[InputSpec, ...], scale: PixelScale
) -> Iterator[Sample]:
    """The samples of a folder one after another; at most one file is in memory.

    A class of the folder is the label, or the array ``label`` of an ``.npz`` file. That pictures
    lose their transparency is told once, by a warning.

    Args:
        files: Which they are.
        inputs: What the network takes.
        scale: What pixels in [0, 1] go through; arrays are taken as they are.

    Raises:
        CalibrationError: A file cannot be read, does not fit the network, or holds NaN; the text
            names it. Or a sample of the network's shape would take more than 256 MiB.
    """
    _require_modest(files, inputs)
    told = False
    for index, path in enumerate(files.paths):
        samples, lost = _samples_of(path, inputs, scale)
        if lost and not told:
            told = True
            warn(
                f"'{path}' is transparent in places: in all pictures transparency is dropped, as "
                "Image.convert('RGB') does; flatten them first if training did otherwise.",
            )
        known = files.labels[index] if files.labels else None
        for sample in samples:
            yield sample if known is None else Sample(inputs=sample.inputs, label=known)


def _require_modest(files: SampleFiles, inputs: tuple[InputSpec, ...]) -> None:
    """Refuse samples that a picture would be blown up to, or that nobody has."""
    taken = sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in inputs)
    if taken > _LARGEST_SAMPLE_BYTES:
        shapes = ", ".join(str(list(spec.shape)) for spec in inputs)
        raise CalibrationError(
            f"one sample of {shapes} takes {taken:,} bytes, and '{files.folder}' is read up to "
            f"{_LARGEST_SAMPLE_BYTES:,} for each; give the size that the network sees in use."
        )


def samples_in(path: Path, inputs: tuple[InputSpec, ...]) -> int:
    """How many samples a file holds.

    Raises:
        CalibrationError: It cannot be read or does not fit.
    """
    if path.suffix.lower() in PICTURES:
        return 1
    return len(_samples_of(path, inputs, PixelScale())[0])


def _samples_of(
    path: Path, inputs: tuple[InputSpec, ...], scale: PixelScale
) -> tuple[list[Sample], bool]:
    if path.suffix.lower() in PICTURES:
        array, lost = _picture(path, inputs, scale)
        return [Sample(inputs=(array,))], lost
    arrays, labels = _arrays(path, inputs)
    columns = [_split(path, a, s) for a, s in zip(arrays, inputs, strict=True)]
    if len({len(column) for column in columns}) != 1:
        counts = ", ".join(f"'{s.name}' {len(c)}" for s, c in zip(inputs, columns, strict=True))
        raise CalibrationError(f"'{path}' holds as many samples: {counts}; give as many of each.")
    rows = list(zip(*columns, strict=True))
    if labels is None:
        return [Sample(inputs=row) for row in rows], False
    known = _labels(path, labels, len(rows))
    return [Sample(inputs=r, label=n) for r, n in zip(rows, known, strict=True)], False


def _picture(path: Path, inputs: tuple[InputSpec, ...], scale: PixelScale) -> tuple[Array, bool]:
    layout = picture_layout(inputs[0].shape) if len(inputs) == 1 else None
    if layout is None or inputs[0].dtype != "float32":
        wanted = ", ".join(f"{spec.dtype} {list(spec.shape)}" for spec in inputs)
        raise CalibrationError(
            f"'{path}' is a picture, and the network takes {wanted}; give .npy arrays, or .npz "
            "files with an array for each input."
        )
    channels, height, width, last = layout
    read = read_picture(path, channels=channels, height=height, width=width)
    pixels = scale.applied(read.pixels)
    shaped = pixels.transpose(1, 2, 0) if last else pixels.reshape(inputs[0].shape)
    return np.ascontiguousarray(shaped), read.lost_transparency


def _arrays(path: Path, inputs: tuple[InputSpec, ...]) -> tuple[tuple[Array, ...], Array | None]:
    try:
        if path.suffix.lower() != ".npz":
            return _only(path, np.load(path, allow_pickle=False), inputs), None
        with np.load(path, allow_pickle=False) as archive:
            named = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CalibrationError(f"'{path}' cannot be read ({said}); leave it out.") from error
    except Exception as error:  # zipfile's and zlib's
        raise CalibrationError(f"'{path}' cannot be read ({error}); leave it out.") from error
    return _by_name(path, named, inputs)


def _only(path: Path, array: Array, inputs: tuple[InputSpec, ...]) -> tuple[Array, ...]:
    if len(inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in inputs)
        raise CalibrationError(
            f"'{path}' is one array, and the network takes {len(inputs)}: save .npz files with the "
            f"arrays {names}."
        )
    return (array,)


def _by_name(
    path: Path, named: Mapping[str, Array], inputs: tuple[InputSpec, ...]
) -> tuple[tuple[Array, ...], Array | None]:
    label_names = [name for name in named if name.lower() in LABEL_NAMES]
    labels = named[label_names[0]] if len(label_names) == 1 else None
    if all(spec.name in named for spec in inputs):
        return tuple(named[spec.name] for spec in inputs), labels
    others = [name for name in named if name not in label_names]
    if len(inputs) == 1 and len(others) == 1:
        return (named[others[0]],), labels
    wanted = ", ".join(f"'{spec.name}'" for spec in inputs)
    raise CalibrationError(
        f"'{path}' holds the arrays {sorted(named)}, and the network takes {wanted}; save them by "
        "these names."
    )


def _labels(path: Path, labels: Array, count: int) -> list[int]:
    if labels.dtype.kind not in "iu" or labels.size != count:
        raise CalibrationError(
            f"'{path}' holds labels of the shape {list(labels.shape)} and type {labels.dtype} for "
            f"{count} samples; give one whole number for each."
        )
    return [int(value) for value in labels.reshape(-1)]


def _split(path: Path, array: Array, spec: InputSpec) -> list[Array]:
    """The samples of an array: itself, or along a first axis that the network does not have."""
    converted = _converted(path, array, spec)
    samples = list(converted) if array.ndim == len(spec.shape) + 1 else [converted]
    for sample in samples:
        if sample.shape != spec.shape:
            raise CalibrationError(
                f"'{path}' has the shape {list(sample.shape)} for '{spec.name}', the network takes "
                f"{list(spec.shape)}{_hint(sample.shape, spec.shape)}."
            )
    return samples


def _hint(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(found) == 3 and found != wanted:
        if (found[2], *found[:2]) == wanted:
            return "; save it with channels first, np.moveaxis(x, -1, 0)"
        if (*found[1:], found[0]) == wanted:
            return "; save it with channels last, np.moveaxis(x, 0, -1)"
    return "; save what the network sees"


def _converted(path: Path, array: Array, spec: InputSpec) -> Array:
    """In the network's type: floats from floats, whole numbers from what holds the same ones."""
    wanted = np.dtype(spec.dtype)
    if array.dtype.kind not in ("f" if wanted.kind == "f" else "biuf"):
        scaled = " For pixels that is x.astype(np.float32) / 255." if array.dtype == "uint8" else ""
        raise CalibrationError(
            f"'{path}' holds {array.dtype} values, the network takes {spec.dtype}; save what the "
            f"network sees, scaled as in training.{scaled}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.ascontiguousarray(array, dtype=wanted)
    bad = array.size - int((np.isfinite(array) & np.isfinite(converted)).sum())
    if bad:
        raise CalibrationError(
            f"'{path}' holds {bad:,} NaN or infinite values of {converted.size:,} for "
            f"'{spec.name}'; leave it out, or look at what made it."
        )
    if wanted.kind != "f" and not np.array_equal(converted, array):
        raise CalibrationError(
            f"'{path}' holds {array.dtype} from {array.min():g} to {array.max():g} for "
            f"'{spec.name}', which takes {spec.dtype}; save whole numbers in its range."
        )
    return converted
