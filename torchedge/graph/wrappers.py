"""What is handed over as a model: wrappers taken off, and what no graph can be made of refused."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload

from torchedge.errors import TraceError

__all__ = ["require_inputs", "unwrapped"]

# Wrapper classes by name, so that none of their packages is loaded for asking.
_WRAPPED = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",
}


def unwrapped(model: Any) -> nn.Module:  # noqa: ANN401 - whatever was passed
    """The network inside ``DataParallel``, ``torch.compile`` and ``AveragedModel``.

    Raises:
        TraceError: It is no module, a scripted or exported one, or a LightningModule around a
            network; the text names what to pass instead.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> unwrapped(nn.DataParallel(net)) is net
        True
    """
    while type(model).__name__ in _WRAPPED:
        model = getattr(model, _WRAPPED[type(model).__name__])
    if isinstance(model, torch.jit.ScriptModule):
        raise TraceError(
            f"{type(model).__name__} is compiled TorchScript, whose layers cannot be exchanged; "
            "pass the nn.Module that it was made from."
        )
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"a model is an nn.Module, and this is a {type(model).__name__}; pass the network "
            "itself, not its path, its state dict or its exported program."
        )
    _require_layers(model)
    _require_no_trainer(model)
    return model


def _require_layers(model: nn.Module) -> None:
    if isinstance(model, fx.GraphModule) and any(
        isinstance(node.target, OpOverload) for node in model.graph.nodes
    ):
        raise TraceError(
            f"{type(model).__name__} is an exported program: single operators, no layers, so "
            "nothing in it would be quantised or pruned. Pass the nn.Module that was exported."
        )


def _require_no_trainer(model: nn.Module) -> None:
    if "LightningModule" not in {kind.__name__ for kind in type(model).__mro__}:
        return
    children = [
        n for n, child in model.named_children() if next(child.parameters(), None) is not None
    ]
    own = next(model.parameters(recurse=False), None) is not None
    if len(children) == 1 and not own:
        raise TraceError(
            f"{type(model).__name__} is a LightningModule around the network '{children[0]}'; pass "
            f"that attribute (task.{children[0]}), and assign the result to it to train on."
        )


def require_inputs(example_inputs: object) -> tuple[Tensor, ...]:
    """The example inputs, a tuple of tensors.

    Raises:
        TraceError: They are something else; the text says what to write.
    """
    if isinstance(example_inputs, Tensor):
        raise TraceError(
            f"example_inputs is one tensor of shape {tuple(example_inputs.shape)}, not a tuple; "
            "write (x,) for a network with one input."
        )
    given = tuple(example_inputs) if isinstance(example_inputs, list | tuple) else None
    if not given or not all(isinstance(value, Tensor) for value in given):
        kinds = [type(value).__name__ for value in given or ()]
        raise TraceError(
            f"example_inputs is a {type(example_inputs).__name__} of {kinds}; give a tuple of "
            "tensors, one for each input of forward. Arguments left out keep their defaults."
        )
    return given
