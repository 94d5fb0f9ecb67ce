"""One set of inputs, from what people give for an example."""

import inspect
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from torchedge.batches.adapter import batches_of
from torchedge.batches.inputs import inputs_of
from torchedge.batches.tensors import as_tensor, require_plain
from torchedge.errors import CalibrationError, TorchedgeError, TraceError, UsageError

__all__ = ["Examples", "example_tensors", "run_once"]

Examples: TypeAlias = Tensor | tuple[Tensor, ...]


def example_tensors(model: nn.Module, given: object) -> tuple[Tensor, ...]:
    """The example inputs as tensors on the network's device, one for each input.

    Args:
        model: The network, which gives the order of a dictionary's entries.
        given: A tensor or array for the only input; several in a tuple or list; a dictionary of
            them by the names of ``forward``'s arguments; or a ``DataLoader`` or ``Dataset``, of
            which the first sample is taken.

    Raises:
        TraceError: It is something else, empty, holds NaN, or has no plain numbers.

    Example:
        >>> [x.shape for x in example_tensors(nn.Linear(3, 1), np.zeros((2, 3)))]
        [torch.Size([2, 3])]
    """
    try:
        tensors = [_usable(value, where) for where, value in _values(model, given).items()]
    except CalibrationError as error:
        raise TraceError(str(error)) from error
    device = inputs_of(model).device
    return tuple(tensors if device is None else [tensor.to(device) for tensor in tensors])


def _values(model: nn.Module, given: object) -> dict[str, object]:
    if isinstance(given, Tensor | np.ndarray):
        return {"example_inputs": given}
    if isinstance(given, Mapping):
        return _in_order(model, given)
    if isinstance(given, DataLoader | Dataset):
        inputs = next(batches_of(given, inputs_of(model), what="example")).inputs
        return {f"example_inputs[{i}]": x[:1] for i, x in enumerate(inputs)}
    values = list(given) if isinstance(given, list | tuple) else []
    if not values or not all(isinstance(value, Tensor | np.ndarray) for value in values):
        raise TraceError(
            f"example_inputs is a {type(given).__name__} of "
            f"{[type(value).__name__ for value in values]}; give a tensor, or a tuple of "
            "tensors, one for each input of forward. Arguments left out keep their defaults."
        )
    return {f"example_inputs[{i}]": value for i, value in enumerate(values)}


def _in_order(model: nn.Module, given: Mapping[object, object]) -> dict[str, object]:
    places = inspect.signature(model.forward).parameters.values()
    names = [p.name for p in places if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    taken = names[: len(given)]
    if not given or set(taken) != set(given):
        raise TraceError(
            f"example_inputs is a dictionary with {[str(name) for name in given]}, and forward "
            f"takes {names} by place, the first of which cannot be left out; give a tuple of "
            "tensors in that order."
        )
    return {f"example_inputs['{name}']": given[name] for name in taken}


def _usable(value: object, where: str) -> Tensor:
    tensor = as_tensor(value, where)
    require_plain(tensor, where)
    if tensor.numel() == 0:
        raise TraceError(
            f"{where} of shape {tuple(tensor.shape)} holds no value; give one sample or more."
        )
    missing = int(tensor.isnan().sum()) if tensor.is_floating_point() else 0
    if missing:
        raise TraceError(
            f"{where} holds {missing:,} NaN of {tensor.numel():,} values; give a real sample."
        )
    return tensor


def run_once(model: nn.Module, examples: tuple[Tensor, ...]) -> object:
    """What the network returns for the example inputs.

    Raises:
        UsageError: It does not run on them.

    Example:
        >>> run_once(nn.ReLU(), (torch.ones(1),))
        tensor([1.])
    """
    try:
        with torch.no_grad():
            result: object = model(*examples)
    except TorchedgeError:
        raise
    except Exception as error:  # whatever the user's code raises
        shapes = ", ".join(str(tuple(x.shape)) for x in examples)
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UsageError(
            f"{type(model).__name__} does not run on the example inputs ({shapes}): {said}. Give "
            "inputs that its forward takes."
        ) from error
    return result
