"""What is refused of a model's data before anything is computed with it."""

import math
from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor

from torchedge.errors import CalibrationError, UsageError

__all__ = ["finite_metrics", "require_fitting", "require_indices", "require_names"]


def require_fitting(what: str, tensors: tuple[Tensor, ...], examples: tuple[Tensor, ...]) -> None:
    """Refuse data that the network cannot be run on batch by batch.

    Args:
        what: Name of the data, for the text.
        tensors: One for each input, samples along the first axis.
        examples: One set of inputs.

    Raises:
        CalibrationError: There is no sample, or not as many of each input, or another number than
            whole batches, or of another shape; or a value is NaN or infinite.

    Example:
        >>> require_fitting("samples", (torch.zeros(4, 3),), (torch.zeros(2, 3),))
    """
    _require_tensors(what, tensors)
    _require_tensors("example_inputs", examples)
    counts = {len(tensor) for tensor in tensors}
    if len(tensors) != len(examples) or len(counts) != 1 or 0 in counts:
        raise CalibrationError(
            f"{what}: {len(tensors)} tensors with {sorted(counts)} samples for {len(examples)} "
            "inputs; give one non-empty tensor for each input."
        )
    batch_size = len(examples[0])
    if counts.pop() % batch_size:
        raise CalibrationError(
            f"{what}: the number of samples is no multiple of the batch size {batch_size}."
        )
    for index, example in enumerate(examples):
        _require_finite(f"example_inputs[{index}]", example)
    for index, (tensor, example) in enumerate(zip(tensors, examples, strict=True)):
        if tensor.shape[1:] != example.shape[1:]:
            raise CalibrationError(
                f"{what} have shape {tuple(tensor.shape[1:])} each, the example input "
                f"{tuple(example.shape[1:])}; preprocess them alike."
            )
        _require_finite(f"{what}[{index}]", tensor)


def _require_tensors(what: str, values: object) -> None:
    """A tensor in place of a tuple of tensors would be taken apart along its first axis."""
    if not isinstance(values, tuple | list):
        raise CalibrationError(
            f"{what} is {type(values).__name__}; give a tuple with one tensor for each input, for "
            f"example {what}=(images,)."
        )
    for index, value in enumerate(values):
        if not isinstance(value, Tensor) or value.ndim == 0:
            found = "a number" if isinstance(value, Tensor) else type(value).__name__
            raise CalibrationError(
                f"{what}[{index}] is {found}; give a tensor whose first axis counts samples."
            )


def _require_finite(what: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        return
    bad = ~torch.isfinite(tensor).flatten(1).all(1) if tensor.ndim > 1 else ~torch.isfinite(tensor)
    if bad.any():
        raise CalibrationError(
            f"{what} holds NaN or infinite values in {int(bad.sum()):,} of {len(tensor):,} "
            f"samples, the first at index {int(bad.nonzero()[0])}; leave these out, or look at "
            "what preprocesses them."
        )


def require_indices(labels: Tensor, count: int, scores: Tensor) -> None:
    """Refuse labels that are no class indices of the scores.

    Args:
        labels: What the user gave.
        count: How many samples there are.
        scores: The first output for one batch.

    Raises:
        CalibrationError: They are not one integer for each sample, one is beyond the scores, or the
            first output is no row of scores.

    Example:
        >>> require_indices(torch.tensor([0, 2]), 2, torch.zeros(1, 3))
    """
    if not isinstance(labels, Tensor) or tuple(labels.shape) != (count,):
        found = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise CalibrationError(
            f"labels have shape {found} for {count} samples; give a tensor with one class index "
            "for each sample."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise CalibrationError(
            f"labels are {_dtype(labels)}, and class indices are integers; give labels.long() if "
            "they are whole, or no labels."
        )
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise CalibrationError(
            f"labels were given for a first output of shape {tuple(scores.shape)}, which is no row "
            "of two scores or more for each sample; leave labels out, the report measures against "
            "the float network."
        )
    classes = scores.shape[1]
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise CalibrationError(
            f"{int(outside.sum()):,} of {count:,} labels are outside 0…{classes - 1}, for example "
            f"{int(labels[outside][0])}; the first output has {classes} scores. Give their indices."
        )


def require_names(class_names: tuple[str, ...], scores: Tensor) -> None:
    """Refuse names that are not one for each score of the first output.

    Raises:
        CalibrationError: There are more or fewer.

    Example:
        >>> require_names(("cat", "dog"), torch.zeros(1, 2))
    """
    if class_names and (scores.ndim != 2 or scores.shape[1] != len(class_names)):
        raise CalibrationError(
            f"{len(class_names)} class_names for a first output of shape {tuple(scores.shape)}; "
            "give one name for each score, or none."
        )


def finite_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Figures as a manifest can hold them and read them again.

    Raises:
        UsageError: A figure is no finite number, or its name no text.

    Example:
        >>> finite_metrics({"float_accuracy": 1})
        {'float_accuracy': 1.0}
    """
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f"metrics is a {type(metrics).__name__}; a metric is a finite number with a name, for "
            "example metrics={'float_accuracy': 0.91}."
        )
    for name, value in metrics.items():
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if not isinstance(name, str) or not isinstance(value, Real) or not math.isfinite(value):
            raise UsageError(
                f"metrics[{name!r}] is {value!r}; a metric is a finite number with a name, for "
                "example metrics={'float_accuracy': 0.91}."
            )
    return {name: float(value) for name, value in metrics.items()}


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
