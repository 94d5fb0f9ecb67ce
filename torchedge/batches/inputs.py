"""What a network takes, as far as that can be seen from it."""

import inspect
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

__all__ = ["NetworkInputs", "device_of", "inputs_of"]


@final
@dataclass(frozen=True, kw_only=True)
class NetworkInputs:
    """What a network takes; what is empty is not known.

    Args:
        names: Of its inputs, in order.
        shapes: Of one sample of each, without the batch.
        dtypes: Of each.
        device: Where it runs.
        float_dtype: In which it computes.
    """

    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[torch.dtype, ...] = ()
    device: torch.device | None = None
    float_dtype: torch.dtype | None = None

    @property
    def count(self) -> int | None:
        """How many inputs, where that is known."""
        return len(self.names) or len(self.shapes) or None

    def name(self, index: int) -> str:
        """Of an input, or its place."""
        return self.names[index] if index < len(self.names) else str(index)


def inputs_of(model: nn.Module, example_inputs: tuple[Tensor, ...] = ()) -> NetworkInputs:
    """What ``forward`` cannot do without, or as many arguments as there are examples.

    Args:
        model: A network.
        example_inputs: One set of inputs, where they are known.

    Example:
        >>> inputs_of(nn.Bilinear(2, 3, 1)).names
        ('input1', 'input2')
        >>> inputs_of(nn.Linear(2, 1), (torch.zeros(1, 2),)).shapes
        ((2,),)
    """
    tensors = [*model.parameters(), *model.buffers()]
    floats = (tensor.dtype for tensor in tensors if tensor.is_floating_point())
    return NetworkInputs(
        names=_names(model, len(example_inputs)),
        shapes=tuple(tuple(x.shape[1:]) for x in example_inputs),
        dtypes=tuple(x.dtype for x in example_inputs),
        device=tensors[0].device if tensors else None,
        float_dtype=next(floats, None),
    )


def device_of(model: nn.Module) -> torch.device | None:
    """Where the first tensor of a network is; ``None`` where it has none.

    Example:
        >>> device_of(nn.Linear(1, 1)), device_of(nn.ReLU())
        (device(type='cpu'), None)
    """
    return inputs_of(model).device


def _names(model: nn.Module, count: int) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return ()  # compiled code has no signature to ask
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ()
    places = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    needed = sum(p.default is p.empty for p in places)
    return tuple(p.name for p in places[: count or needed or 1])
