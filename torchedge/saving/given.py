"""What a model is saved with, brought to one form from whatever was given."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchedge.batches.adapter import batches_of
from torchedge.batches.examples import example_tensors
from torchedge.batches.inputs import inputs_of
from torchedge.batches.parts import Batch
from torchedge.batches.tensors import as_tensor, input_tensor
from torchedge.errors import CalibrationError, TraceError, UsageError

__all__ = [
    "class_names_of",
    "examples_of",
    "folder_for",
    "is_empty",
    "labels_of",
    "samples_of",
]


def examples_of(network: nn.Module, given: object) -> tuple[Tensor, ...]:
    """The example inputs as tensors on the CPU, samples along their first axis.

    Raises:
        CalibrationError: They are no tensors, empty or hold NaN.

    Example:
        >>> [x.shape for x in examples_of(nn.Linear(3, 1), torch.zeros(1, 3))]
        [torch.Size([1, 3])]
    """
    try:
        found = example_tensors(network, given)
    except TraceError as error:
        raise CalibrationError(str(error)) from error
    if any(tensor.ndim == 0 for tensor in found):
        raise CalibrationError(
            "an example input is a number; give a tensor whose first axis counts samples."
        )
    return tuple(tensor.cpu() for tensor in found)


def folder_for(given: object) -> Path:
    """Where to write, as a path.

    Raises:
        UsageError: It is no path, or lies below a file.

    Example:
        >>> folder_for("runs/mine").name
        'mine'
    """
    if not isinstance(given, str | Path) or not str(given).strip():
        raise UsageError(f"the folder is {given!r}; give a path, for example 'runs/mine'.")
    folder = Path(given)
    above = next((parent for parent in folder.parents if parent.is_file()), None)
    if above is not None:
        raise UsageError(f"'{folder}' lies below '{above}', which is a file; choose another one.")
    return folder


def is_empty(given: object) -> bool:
    """Whether no data was given at all.

    Example:
        >>> is_empty(()), is_empty(None), is_empty(torch.zeros(1))
        (True, True, False)
    """
    return given is None or (isinstance(given, list | tuple) and not given)


def samples_of(
    what: str, network: nn.Module, given: object, examples: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """All samples as one tensor for each input, and their labels where they came along.

    Args:
        what: Name of the data, for messages.
        network: That takes them.
        given: One tensor for each input, or any data (:class:`~torchedge.batches.data.Data`).
        examples: One set of inputs.

    Raises:
        CalibrationError: There is none, or one is no tensor or of another type.

    Example:
        >>> loader = [(torch.zeros(2, 3), torch.tensor([1, 0]))] * 2
        >>> found, labels = samples_of("samples", nn.Linear(3, 1), loader, (torch.zeros(1, 3),))
        >>> found[0].shape, labels.tolist()
        (torch.Size([4, 3]), [1, 0, 1, 0])
    """
    if isinstance(given, Tensor | np.ndarray) and len(examples) == 1:
        given = (given,)
    if _are_columns(given, examples):
        return tuple(_columns(what, given, examples)), None
    wanted = inputs_of(network, examples)
    batches = list(batches_of(given, wanted, what=what, finite=False))
    return _joined(what, batches)


def _are_columns(given: object, examples: tuple[Tensor, ...]) -> bool:
    """Whether there is a tensor with all samples for each input."""
    if not isinstance(given, list | tuple) or len(given) != len(examples):
        return False
    pairs = zip(given, examples, strict=True)
    return all(isinstance(x, Tensor | np.ndarray) and x.ndim == like.ndim for x, like in pairs)


def _columns(what: str, given: Any, examples: tuple[Tensor, ...]) -> Iterator[Tensor]:  # noqa: ANN401
    for index, (value, like) in enumerate(zip(given, examples, strict=True)):
        where = f"{what}[{index}]"
        yield input_tensor(
            value, where, dtype=like.dtype, float_dtype=None, axes=None, finite=False
        ).cpu()


def _joined(what: str, batches: list[Batch]) -> tuple[tuple[Tensor, ...], Tensor | None]:
    columns = list(zip(*(batch.inputs for batch in batches), strict=True))
    for column in columns:
        shapes = sorted({tuple(tensor.shape[1:]) for tensor in column})
        if len(shapes) > 1:
            raise CalibrationError(
                f"{what} have the shapes {shapes[:3]}; give samples of one shape."
            )
    labels = [batch.labels for batch in batches]
    known = [found for found in labels if found is not None]
    joined = tuple(torch.cat(column).cpu() for column in columns)
    return joined, torch.cat(known).cpu() if len(known) == len(batches) else None


def labels_of(given: object) -> object:
    """Labels as a tensor where they are a list or an array; anything else as it is.

    Example:
        >>> labels_of([1, 0])
        tensor([1, 0])
    """
    if isinstance(given, list | tuple) and given and all(type(n) is int for n in given):
        return torch.tensor(given)
    if isinstance(given, np.ndarray):
        return as_tensor(given, "labels")
    return given


def class_names_of(given: object) -> tuple[str, ...]:
    """Names of classes as a tuple.

    Raises:
        UsageError: It is one text, or no sequence.

    Example:
        >>> class_names_of(["cat", "dog"])
        ('cat', 'dog')
    """
    if given is None:
        return ()
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise UsageError(
            f"class_names is {given!r}; give one name for each score, for example ('cat', 'dog')."
        )
    return tuple(str(name) for name in given)
