"""What a network returns, as tensors with names: the form in which every artefact returns it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import final

import torch
from torch import Tensor, nn

from torchedge.errors import ExportError

__all__ = [
    "has_scores",
    "named_tensors",
    "require_batch_first",
    "require_repeatable",
    "with_tuple_of_tensors",
]

_NAME = re.compile(r"(?!input_\d+$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")  # input_0 is an input
_WAY_OUT = (
    "return a tensor, or a tuple, list, dict, namedtuple or dataclass of tensors; wrap the network "
    "in a module that does"
)


def named_tensors(result: object) -> dict[str, Tensor]:
    """The tensors of what a network returned, by name and in order; ``None`` is left out.

    A tensor alone is ``output_0``, and those of a tuple or list are ``output_0``, ``output_1``, ….
    Keys of a dictionary and fields of a dataclass or namedtuple are names; further down, names are
    joined by dots.

    Raises:
        ExportError: It holds something else than tensors, no tensor at all, or a name that files
            cannot have.

    Example:
        >>> import torch
        >>> x = torch.zeros(1)
        >>> list(named_tensors({"boxes": [x, x], "scores": x}))
        ['boxes.0', 'boxes.1', 'scores']
    """
    unnamed = isinstance(result, tuple | list) and not hasattr(result, "_fields")
    prefix = "output_" if unnamed else ""
    found: dict[str, Tensor] = {}
    for path, value in _leaves(result, ()):
        name = prefix + ".".join(path) if path else "output_0"
        if value is None:
            continue
        if not isinstance(value, Tensor):
            raise ExportError(
                f"the model returns {type(value).__name__}, which is no tensor, as '{name}'; "
                f"{_WAY_OUT}."
            )
        if name in found or not _NAME.fullmatch(name):
            fault = "two outputs" if name in found else "an output"
            raise ExportError(
                f"the model returns {fault} of the name '{name}'; every output needs a name of its "
                "own, of letters, digits, '_' and '-', and none like input_0. Return it by another."
            )
        found[name] = value
    if not found:
        raise ExportError(
            f"the model returns {type(result).__name__} without a tensor; {_WAY_OUT}."
        )
    return found


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    parts = _parts(value)
    if parts is None:
        yield path, value
        return
    for key, part in parts:
        yield from _leaves(part, (*path, key))


def _parts(value: object) -> list[tuple[str, object]] | None:
    """What a container holds, by name; ``None`` for what is no container."""
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))
        return list(zip(names, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return None


def has_scores(outputs: Mapping[str, Tensor]) -> bool:
    """Whether the first output is a row of two scores or more for each sample.

    Example:
        >>> import torch
        >>> has_scores({"scores": torch.zeros(1, 10)}), has_scores({"map": torch.zeros(1, 9, 9)})
        (True, False)
    """
    first = next(iter(outputs.values()))
    return first.ndim == 2 and first.shape[1] > 1


def require_repeatable(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Refuse a network that draws numbers: no form of it can be compared with another.

    Args:
        first: What it returned.
        second: What it returned when it was run again on the same.

    Raises:
        ExportError: They differ.

    Example:
        >>> require_repeatable({"y": torch.ones(1)}, {"y": torch.ones(1)})
    """
    for name, tensor in first.items():
        other = second.get(name)
        if other is None or not torch.equal(tensor.nan_to_num(), other.nan_to_num()):
            raise ExportError(
                f"the model returns another '{name}' when it is run again on the same example "
                "inputs; where self.training is false, leave noise and dropout out."
            )


def require_batch_first(outputs: Mapping[str, Tensor], batch_size: int) -> None:
    """Refuse outputs that cannot be told apart sample by sample.

    Raises:
        ExportError: An output has another first axis than the batch.

    Example:
        >>> import torch
        >>> require_batch_first({"scores": torch.zeros(2, 10)}, 2)
    """
    for name, tensor in outputs.items():
        if tensor.ndim == 0 or len(tensor) != batch_size:
            raise ExportError(
                f"the output '{name}' has the shape {tuple(tensor.shape)} for a batch of "
                f"{batch_size}; answers are compared sample by sample, so the first axis must "
                "count samples. Give it one, or leave what does not depend on the input out."
            )


def with_tuple_of_tensors(model: nn.Module, result: object) -> nn.Module:
    """The model itself where it returns a tensor or a plain tuple of them, else one that does.

    Args:
        model: Ready for export.
        result: What it returned once.
    """
    if isinstance(result, Tensor):
        return model
    # A list that torch.fx has traced is one of its own kind in the program.
    plain = type(result) is tuple and all(isinstance(value, Tensor) for value in result)
    return model if plain else _TupleOfTensors(model)


@final
class _TupleOfTensors(nn.Module):
    """Returns in order what another network returns by name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network and drop the names, which the manifest keeps."""
        return tuple(named_tensors(self.network(*inputs)).values())
