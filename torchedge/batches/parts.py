"""What a loader yields, taken apart into inputs and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from torchedge.batches.folders import LABEL_NAMES
from torchedge.batches.inputs import NetworkInputs
from torchedge.batches.tensors import as_tensor, class_indices, input_tensor
from torchedge.errors import CalibrationError

__all__ = ["Batch", "Key", "batch_of", "taken_apart"]

Key: TypeAlias = str | tuple[str, ...] | None
_Apart: TypeAlias = tuple[tuple[object, ...], object]


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples that a network is run on at once.

    Args:
        inputs: One tensor for each input, the samples along the first axis.
        target: What came along with them, as it was.
    """

    inputs: tuple[Tensor, ...]
    target: object = None

    @property
    def labels(self) -> Tensor | None:
        """Their class indices, where such came along."""
        return class_indices(self.target, len(self.inputs[0]))


def batch_of(
    raw: object, where: str, wanted: NetworkInputs, key: Key = None, *, finite: bool = True
) -> Batch:
    """A batch of inputs, from whatever a loader yields.

    A tensor is the only input. Of a tuple the first entries are the inputs, as many as the network
    takes, and the next is the label. Of a dictionary they are found by the names of ``forward``'s
    arguments, or are what is left when labels are put aside.

    Args:
        raw: What came.
        where: How to call it in a message.
        wanted: What the network takes.
        key: Which entries of a dictionary are the inputs.
        finite: Refuse NaN and infinity.

    Raises:
        CalibrationError: It cannot be told what the inputs are, or one is no usable tensor.

    Example:
        >>> found = batch_of((torch.zeros(2, 3), torch.tensor([1, 0])), "batch 0", NetworkInputs())
        >>> len(found.inputs), found.labels
        (1, tensor([1, 0]))
    """
    values, target = taken_apart(raw, where, wanted, key)
    inputs = tuple(
        input_tensor(
            value,
            where if len(values) == 1 else f"'{wanted.name(index)}' of {where}",
            dtype=wanted.dtypes[index] if index < len(wanted.dtypes) else None,
            float_dtype=wanted.float_dtype,
            axes=len(wanted.shapes[index]) + 1 if index < len(wanted.shapes) else None,
            finite=finite,
        )
        for index, value in enumerate(values)
    )
    counts = [len(tensor) for tensor in inputs]
    if len(set(counts)) > 1:
        raise CalibrationError(
            f"the inputs of {where} hold {counts} samples; give as many of each."
        )
    if wanted.device is not None:
        inputs = tuple(tensor.to(wanted.device) for tensor in inputs)
    return Batch(inputs=inputs, target=target)


def taken_apart(raw: object, where: str, wanted: NetworkInputs, key: Key = None) -> _Apart:
    """The inputs in what came, as they are, and what came along with them.

    Args:
        raw: A batch or a sample.
        where: How to call it in a message.
        wanted: What the network takes.
        key: Which entries of a dictionary are the inputs.

    Raises:
        CalibrationError: It cannot be told what the inputs are.

    Example:
        >>> taken_apart({"image": 1, "label": 2}, "sample 0", NetworkInputs(names=("x",)))
        ((1,), 2)
    """
    if isinstance(raw, Mapping):
        return _by_name(raw, where, wanted, key)
    if key is not None:
        raise CalibrationError(
            f"{where} is a {type(raw).__name__} and no dictionary, so it has no key {key!r}; leave "
            "key out."
        )
    if isinstance(raw, list | tuple):
        return _by_place(raw, where, wanted)
    if wanted.count not in {None, 1}:
        raise CalibrationError(
            f"{where} is one {type(raw).__name__}, and the network takes {_listed(wanted.names)}; "
            "give a tuple with a tensor for each."
        )
    return (raw,), None


def _by_place(raw: Sequence[Any], where: str, wanted: NetworkInputs) -> _Apart:
    if not raw:
        raise CalibrationError(f"{where} is an empty {type(raw).__name__}; it holds no sample.")
    rest = raw[1] if len(raw) > 1 else None
    if isinstance(raw[0], Mapping):
        return _by_name(raw[0], where, wanted, None)[0], rest
    if isinstance(raw[0], list | tuple) and raw[0]:
        whole = wanted.count is not None and wanted.count > 1
        return (tuple(raw[0]) if whole else (_stacked(raw[0], where),)), rest
    if _are_samples(raw, wanted):
        return (_stacked(raw, where),), None
    count = wanted.count or (len(raw) - 1 if _ends_in_labels(raw) else len(raw))
    if len(raw) < count or (count > 1 and len(raw) > count + 1):
        kinds = ", ".join(type(value).__name__ for value in raw)
        raise CalibrationError(
            f"{where} holds {len(raw)} entries ({kinds}), and the network takes "
            f"{_listed(wanted.names)}; give these, and a label at most."
        )
    return tuple(raw[:count]), raw[count] if len(raw) > count else None


def _ends_in_labels(raw: Sequence[object]) -> bool:
    """Whether the last entry has one whole number for each sample."""
    first = raw[0]
    known = isinstance(first, Tensor) and first.ndim > 1 and len(raw) > 1
    return known and class_indices(raw[-1], len(first)) is not None  # type: ignore[arg-type]


def _are_samples(raw: Sequence[object], wanted: NetworkInputs) -> bool:
    """Whether it is a list of samples without a batch axis, as for networks that detect objects."""
    return (
        wanted.count == 1
        and bool(wanted.shapes)
        and all(
            isinstance(value, Tensor) and tuple(value.shape) == wanted.shapes[0] for value in raw
        )
    )


def _stacked(samples: Sequence[object], where: str) -> Tensor:
    tensors = [as_tensor(sample, where) for sample in samples]
    shapes = sorted({tuple(tensor.shape) for tensor in tensors})
    if len(shapes) > 1:
        raise CalibrationError(
            f"{where} is a list of samples of the shapes {shapes[:3]}; bring them to one shape."
        )
    return torch.stack(tensors)


def _by_name(raw: Mapping[str, object], where: str, wanted: NetworkInputs, key: Key) -> _Apart:
    labels = [name for name in raw if str(name).lower() in LABEL_NAMES]
    label = raw[labels[0]] if len(labels) == 1 else None
    names = (key,) if isinstance(key, str) else key or wanted.names
    if names and all(name in raw for name in names):
        return tuple(raw[name] for name in names), label
    if key is not None:
        raise CalibrationError(
            f"{where} has no {_listed([name for name in names if name not in raw])}; it has "
            f"{_listed(raw)}."
        )
    others = [name for name in raw if name not in labels]
    if len(others) == 1 and wanted.count in {None, 1}:
        return (raw[others[0]],), label
    takes = f", and the network takes {_listed(names)}" if names else ""
    raise CalibrationError(
        f"{where} is a dictionary with {_listed(raw)}{takes}; say which is the input: "
        f"Data(data, key={(others or list(raw) or ['x'])[0]!r})."
    )


def _listed(names: Sequence[object] | Mapping[Any, object]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"
