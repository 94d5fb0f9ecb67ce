"""Calibration data from a folder of arrays or pictures, in the shape that an ONNX file takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from torchedge.batches.files import SampleFiles, sample_files
from torchedge.batches.folders import InputSpec, Sample, read_samples, samples_in
from torchedge.batches.pictures import PixelScale, picture_layout
from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, UsageError
from torchedge.exporting.normalisation import Normalisation

if TYPE_CHECKING:
    import onnx

__all__ = [
    "LabelledBatch",
    "Taken",
    "folder_batches",
    "folder_normalisation",
    "labelled_batches",
    "taken_batches",
]

_WHITE = 255  # the largest value of a pixel
_NO_MEAN, _NO_DEVIATION = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@final
@dataclass(frozen=True, kw_only=True)
class LabelledBatch:
    """Samples that the network is run on at once.

    Args:
        inputs: One array for each input, the samples along the first axis.
        labels: Their class indices, where the folder has them.
    """

    inputs: tuple[Array, ...]
    labels: Array | None


@final
@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a network takes.

    Args:
        batch_size: So many samples at once.
        inputs: Of each, these.
    """

    batch_size: int
    inputs: tuple[InputSpec, ...]


def folder_batches(
    folder: Path,
    model: Path,
    *,
    batch_size: int | None = None,
    mean: tuple[float, ...] = _NO_MEAN,
    std: tuple[float, ...] = _NO_DEVIATION,
    input_shape: tuple[int, ...] | None = None,
) -> Iterator[tuple[Array, ...]]:
    """Batches for a model from a folder of arrays or pictures, in order of classes and names.

    Args:
        folder: As for :func:`labelled_batches`.
        model: Its inputs give the shapes.
        batch_size: Where the model leaves it open; default 1.
        mean: Subtracted from each channel of a picture in [0, 1].
        std: Then divides each channel.
        input_shape: Where the model leaves other sizes of its first input open.

    Raises:
        CalibrationError: There are no such files, or one has another shape.
        UsageError: There is a mean or deviation, and no picture.
    """
    batches = labelled_batches(
        folder, model, batch_size=batch_size, mean=mean, std=std, input_shape=input_shape
    )
    return (batch.inputs for batch in batches)


def labelled_batches(
    folder: Path,
    model: Path,
    *,
    batch_size: int | None = None,
    mean: tuple[float, ...] = _NO_MEAN,
    std: tuple[float, ...] = _NO_DEVIATION,
    input_shape: tuple[int, ...] | None = None,
) -> Iterator[LabelledBatch]:
    """Batches as :func:`folder_batches` makes them, with the classes of their samples.

    The last samples that do not fill a batch are left out. A network with several inputs takes
    ``.npz`` files with one array for each, by their names. An array with one axis more than the
    network takes holds several samples.

    Args:
        folder: Holds pictures, or ``.npy`` or ``.npz`` files with what the network sees; or a
            sub-folder with these for each class (:func:`~torchedge.batches.files.sample_files`).
            Or one such file.
        model: Its inputs give the shapes; pictures fit one with channels first or last.
        batch_size: Where the model leaves it open; default 1.
        mean: Subtracted from each channel of a picture in [0, 1].
        std: Then divides each channel.
        input_shape: Shape of the first input, with or without the batch, where the model leaves
            sizes of it open.

    Raises:
        CalibrationError: There are no such files; one cannot be read, has another shape or type, or
            holds NaN (the text names it); or the sizes of the model are not known.
        UsageError: There is a mean or deviation, and no picture.
    """
    taken = _taken(model, batch_size, input_shape)
    return taken_batches(folder, taken, mean=mean, std=std)


def taken_batches(
    folder: Path,
    taken: Taken,
    *,
    mean: tuple[float, ...] = _NO_MEAN,
    std: tuple[float, ...] = _NO_DEVIATION,
) -> Iterator[LabelledBatch]:
    """The same for whatever takes such inputs.

    Args:
        folder: As for :func:`labelled_batches`.
        taken: So many samples at once, and of each these inputs.
        mean: Likewise.
        std: Likewise.

    Raises:
        CalibrationError: As there.
        UsageError: There is a mean or deviation, and no picture.
    """
    files = sample_files(folder)
    _require_enough(files, taken)
    scale = PixelScale(mean=mean, std=std)
    if scale.changes and not files.has_pictures:
        raise UsageError(
            f"'{folder}' holds arrays only, which are taken as they are; leave mean and std out, "
            "or normalise them before you save them."
        )
    return _batches(read_samples(files, taken.inputs, scale), taken.batch_size)


def folder_normalisation(
    folder: Path,
    model: Path,
    *,
    mean: tuple[float, ...] = _NO_MEAN,
    std: tuple[float, ...] = _NO_DEVIATION,
    input_shape: tuple[int, ...] | None = None,
) -> Normalisation | None:
    """What :func:`folder_batches` does to pixels of 0 to 255; ``None`` where there are arrays.

    Args:
        folder: Likewise.
        model: Its input gives the number of channels.
        mean: Likewise.
        std: Likewise.
        input_shape: Likewise.

    Raises:
        CalibrationError: The sizes of the model are not known.
        UsageError: A deviation is not above zero.
    """
    taken = _taken(model, None, input_shape)
    layout = picture_layout(taken.inputs[0].shape)
    if layout is None or len(taken.inputs) > 1 or sample_files(folder).has_arrays:
        return None
    scale = PixelScale(mean=mean, std=std).for_channels(layout[0])
    return Normalisation(
        mean=tuple(value * _WHITE for value in scale.mean),
        deviation=tuple(value * _WHITE for value in scale.std),
    )


def _require_enough(files: SampleFiles, taken: Taken) -> None:
    found = len(files.paths)
    if found < taken.batch_size:
        found = sum(samples_in(path, taken.inputs) for path in files.paths)
    if found < taken.batch_size:
        raise CalibrationError(
            f"'{files.folder}' holds {found} {_kinds_of(taken)}, fewer than the batch "
            f"of {taken.batch_size}; give some 100 to 500."
        )


def _kinds_of(taken: Taken) -> str:
    if len(taken.inputs) == 1:
        return ".npy files and pictures"
    return f".npz files with the arrays {', '.join(each.name for each in taken.inputs)}"


def _batches(samples: Iterator[Sample], batch_size: int) -> Iterator[LabelledBatch]:
    gathered: list[Sample] = []
    for sample in samples:
        gathered.append(sample)
        if len(gathered) == batch_size:
            yield _batch(gathered)
            gathered = []


def _batch(samples: list[Sample]) -> LabelledBatch:
    known = [sample.label for sample in samples if sample.label is not None]
    return LabelledBatch(
        inputs=tuple(np.stack(arrays) for arrays in zip(*(s.inputs for s in samples), strict=True)),
        labels=np.asarray(known, np.int64) if len(known) == len(samples) else None,
    )


def _taken(model: Path, batch_size: int | None, input_shape: tuple[int, ...] | None) -> Taken:
    import onnx

    from torchedge_onnx.census import read_model
    from torchedge_onnx.graph import real_inputs

    values = real_inputs(read_model(model))
    shapes = [_sizes(model, v, input_shape if i == 0 else None) for i, v in enumerate(values)]
    if len({sizes[0] for sizes in shapes}) != 1:
        raise CalibrationError(
            f"the inputs of '{model}' are of the shapes {shapes}, without one batch size; give "
            "batches of your own from Python."
        )
    fixed = shapes[0][0]
    if fixed and batch_size not in {None, fixed}:
        raise CalibrationError(f"'{model}' takes batches of {fixed}, not {batch_size}.")
    kinds = [onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in values]
    return Taken(
        batch_size=fixed or batch_size or 1,
        inputs=tuple(
            InputSpec(name=value.name, shape=tuple(sizes[1:]), dtype=str(kind))
            for value, sizes, kind in zip(values, shapes, kinds, strict=True)
        ),
    )


def _sizes(model: Path, value: "onnx.ValueInfoProto", given: tuple[int, ...] | None) -> list[int]:
    """All sizes of an input, 0 where the batch is left open."""
    dims = value.type.tensor_type.shape.dim
    sizes = [dim.dim_value for dim in dims]
    if given is not None:
        sizes = _filled(model, value.name, sizes, given)
    if not sizes or min(sizes[1:], default=1) < 1:
        shown = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise CalibrationError(
            f"input '{value.name}' of '{model}' has the open shape {shown}; give its sizes as "
            "input_shape, for example (1, 3, 224, 224), or export the network with a fixed shape."
        )
    return sizes


def _filled(model: Path, name: str, sizes: list[int], given: tuple[int, ...]) -> list[int]:
    wanted = [sizes[0], *given] if sizes and len(given) == len(sizes) - 1 else list(given)
    fits = len(wanted) == len(sizes) or not sizes
    if not fits or any(s and w and s != w for s, w in zip(sizes, wanted, strict=False)):
        shown = [size or "?" for size in sizes]
        raise CalibrationError(
            f"input '{name}' of '{model}' has the shape {shown}, and {list(given)} was given; give "
            "sizes that fit where it is open."
        )
    return [size or want for size, want in zip(sizes, wanted, strict=True)] if sizes else wanted
