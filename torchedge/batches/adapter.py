"""Batches of tensors from any data that people have."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from torchedge.batches.data import Data
from torchedge.batches.files import SampleFiles, sample_files
from torchedge.batches.folders import InputSpec, Sample, read_samples
from torchedge.batches.inputs import NetworkInputs
from torchedge.batches.parts import Batch, batch_of
from torchedge.batches.pictures import PixelScale
from torchedge.batches.tensors import as_tensor, class_indices
from torchedge.errors import CalibrationError, TorchedgeError

__all__ = ["batches_of"]

_UNKNOWN = NetworkInputs()
_Raw: TypeAlias = Iterator[object]


def batches_of(
    data: object,
    wanted: NetworkInputs = _UNKNOWN,
    *,
    what: str = "calibration",
    finite: bool = True,
) -> Iterator[Batch]:
    """Batches of whatever was given as data, checked one by one as they are read.

    See :class:`~torchedge.batches.data.Data` for what that may be. Where a source yields tuples,
    inputs are as many of the first entries as the network takes, and the next one is the label.

    Args:
        data: A source, or one with options.
        wanted: What the network takes, as far as it is known.
        what: What the data is for, in messages.
        finite: Refuse NaN and infinity.

    Raises:
        CalibrationError: There is no data; it cannot be told what its inputs are; or a batch is
            empty, holds NaN, or has another type of numbers than the network takes.

    Example:
        >>> [len(batch.inputs[0]) for batch in batches_of(torch.zeros(70, 3))]
        [32, 32, 6]
        >>> found = next(batches_of([{"image": np.zeros((2, 3)), "label": [1, 0]}]))
        >>> found.inputs[0].dtype, found.labels
        (torch.float32, tensor([1, 0]))
    """
    given = data if isinstance(data, Data) else Data(data)
    number = -1
    for number, raw in enumerate(_raw_batches(given, wanted, what)):
        where = f"{what} batch {number}"
        if isinstance(raw, Batch):
            yield raw
        else:
            yield batch_of(raw, where, wanted, given.key, finite=finite)
    if number < 0:
        spent = isinstance(given.source, Iterator)
        raise CalibrationError(
            f"the {what} set is empty; give at least one batch, and some 100 to 500 samples."
            + (" A generator can be read only once: give a list." if spent else "")
        )


def _raw_batches(given: Data, wanted: NetworkInputs, what: str) -> _Raw:
    source = given.source
    if isinstance(source, str | Path):
        return iter(_folder(sample_files(source), given, wanted))
    if isinstance(source, Tensor | np.ndarray):
        tensor = as_tensor(source, f"the {what} data")
        return _split((tensor[None] if _is_sample(tensor, wanted) else tensor,), given, what)
    if isinstance(source, Mapping):
        return _split_by_name(source, given, what)
    if isinstance(source, list | tuple):
        return _of_list(source, given, wanted, what)
    if isinstance(source, DataLoader):
        return _guarded(source, what)
    if _is_dataset(source):
        return _guarded(DataLoader(source, given.batch_size), what)  # type: ignore[arg-type]
    if isinstance(source, Iterable) and not isinstance(source, bytes | nn.Module):
        return _guarded(source, what)
    raise CalibrationError(
        f"the {what} data is a {type(source).__name__}; give a DataLoader or Dataset, a tensor or "
        "array with samples along its first axis, a list of batches, or a folder."
    )


def _is_dataset(source: object) -> bool:
    if isinstance(source, Dataset):
        return True
    sized = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return sized and not isinstance(source, str | bytes | nn.Module)


def _of_list(source: Sequence[Any], given: Data, wanted: NetworkInputs, what: str) -> _Raw:
    if source and all(isinstance(entry, str | Path) for entry in source):
        return iter(_folder(_listed_files(source), given, wanted))
    if _are_columns(source, wanted):
        return _split(source, given, what)
    if source and _is_sample(source[0], wanted):
        return _guarded(DataLoader(source, given.batch_size), what)  # type: ignore[arg-type]
    return iter(source)


def _listed_files(paths: Sequence[str | Path]) -> SampleFiles:
    found = tuple(Path(path) for path in paths)
    missing = next((path for path in found if not path.is_file()), None)
    if missing is not None:
        raise CalibrationError(f"'{missing}' is no file; name pictures, or .npy or .npz files.")
    return SampleFiles(folder=found[0].parent, paths=found)


def _are_columns(source: Sequence[Any], wanted: NetworkInputs) -> bool:
    """Whether it is all of the data, a tensor for each input and perhaps the labels."""
    if len(source) < 2 or not all(isinstance(entry, Tensor | np.ndarray) for entry in source):
        return False
    first = source[0]
    if (wanted.count or 1) > 1:
        return len(source) in {wanted.count, wanted.count + 1}  # type: ignore[operator]
    label = class_indices(source[1], len(first)) if first.ndim > 1 and len(source) == 2 else None
    return label is not None and source[1].ndim == 1


def _is_sample(entry: object, wanted: NetworkInputs) -> bool:
    """Whether an entry of a list is one sample rather than a batch."""
    if isinstance(entry, list | tuple) and entry:
        entry = entry[0]
    if not wanted.shapes or wanted.count != 1:
        return False
    return isinstance(entry, Tensor | np.ndarray) and tuple(entry.shape) == wanted.shapes[0]


def _split(columns: Sequence[Tensor | np.ndarray[Any, Any]], given: Data, what: str) -> _Raw:
    """Runs of samples from tensors that hold all of them."""
    tensors = [as_tensor(column, f"the {what} data") for column in columns]
    counts = [len(tensor) if tensor.ndim else 0 for tensor in tensors]
    if len(set(counts)) > 1:
        raise CalibrationError(
            f"the {what} data holds {counts} samples; give as many for each input."
        )
    for start in range(0, counts[0], given.batch_size):
        parts = tuple(tensor[start : start + given.batch_size] for tensor in tensors)
        yield parts if len(parts) > 1 else parts[0]


def _split_by_name(source: Mapping[str, Any], given: Data, what: str) -> _Raw:
    names = list(source)
    if not names:
        return
    if len(names) == 1:
        for part in _split((source[names[0]],), given, what):
            yield {names[0]: part}
        return
    columns = [np.asarray(v) if isinstance(v, list) else v for v in source.values()]
    for parts in _split(columns, given, what):
        yield dict(zip(names, parts, strict=True))  # type: ignore[call-overload]


def _guarded(source: Iterable[object], what: str) -> _Raw:
    """What a source yields; its own errors end in one line that says at which batch."""
    number = 0
    try:
        for raw in source:
            yield raw
            number += 1
    except TorchedgeError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        said = lines[-1] if "Traceback" in str(error) else lines[0]
        raise CalibrationError(
            f"{what} batch {number} could not be made ({type(error).__name__}: "
            f"{said.strip()[:200]}); look at the dataset, its transform and its collate_fn."
        ) from error


def _folder(files: SampleFiles, given: Data, wanted: NetworkInputs) -> Iterator[Batch]:
    scale = PixelScale(mean=given.mean, std=given.std)
    samples = read_samples(files, _specs(files, given, wanted), scale)
    while gathered := list(itertools.islice(samples, given.batch_size)):
        yield _gathered(gathered, wanted)


def _specs(files: SampleFiles, given: Data, wanted: NetworkInputs) -> tuple[InputSpec, ...]:
    shapes = wanted.shapes if given.input_shape is None else (given.input_shape,)
    if not shapes:
        raise CalibrationError(
            f"'{files.folder}' is read for samples, and nothing says how large one is; write "
            f"Data('{files.folder}', input_shape=(3, 224, 224)), without the batch."
        )
    kinds = wanted.dtypes or (torch.float32,) * len(shapes)
    return tuple(
        InputSpec(name=wanted.name(i), shape=shape, dtype=str(kind).removeprefix("torch."))
        for i, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    )


def _gathered(samples: list[Sample], wanted: NetworkInputs) -> Batch:
    columns = zip(*(sample.inputs for sample in samples), strict=True)
    inputs = tuple(torch.from_numpy(np.stack(arrays)).to(wanted.device) for arrays in columns)
    labels = [sample.label for sample in samples if sample.label is not None]
    return Batch(inputs=inputs, target=labels if len(labels) == len(samples) else None)
