"""What is handed over as a model: wrappers taken off, and what no graph can be made of refused."""

from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.nn.parameter import is_lazy

from torchedge.errors import TraceError

__all__ = ["unwrapped", "without_wrappers"]

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
        TraceError: It is no module, a scripted or exported one, one whose weights have no values,
            or a LightningModule around a network; the text names what to pass instead.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> unwrapped(nn.DataParallel(net)) is net
        True
    """
    network = without_wrappers(model)
    _require_layers(network)
    _require_no_trainer(network)
    return network


def without_wrappers(model: Any) -> nn.Module:  # noqa: ANN401 - whatever was passed
    """The same for a network that is only run, whatever its layers are.

    Raises:
        TraceError: It is no module, a scripted one, or one whose weights have no values.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> without_wrappers(torch.compile(net)) is net
        True
    """
    while type(model).__name__ in _WRAPPED:
        model = getattr(model, _WRAPPED[type(model).__name__])
    if isinstance(model, torch.jit.ScriptModule):
        raise TraceError(
            f"{type(model).__name__} is compiled TorchScript, whose layers cannot be exchanged; "
            "pass the nn.Module that it was made from."
        )
    if isinstance(model, type):
        raise TraceError(
            f"a model is an nn.Module, and this is the class; pass {model.__name__}()."
        )
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"a model is an nn.Module, and this is a {type(model).__name__}; pass the network "
            "itself, not its path, its state dict or its exported program."
        )
    if not hasattr(model, "_parameters"):
        raise TraceError(
            f"{type(model).__name__} has no parts yet; call super().__init__() first in its "
            "__init__."
        )
    _require_values(model)
    return model


def _require_layers(model: nn.Module) -> None:
    if isinstance(model, fx.GraphModule) and any(
        isinstance(node.target, OpOverload) for node in model.graph.nodes
    ):
        raise TraceError(
            f"{type(model).__name__} is an exported program: single operators, no layers, so "
            "nothing in it would be quantised or pruned. Pass the nn.Module that was exported."
        )


def _require_values(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise TraceError(
                f"'{name}' of a lazy layer has no shape yet; run the model once on an example."
            )
        if tensor.is_meta:
            raise TraceError(
                f"'{name}' is on the meta device and has no values; load the weights, for example "
                "with load_state_dict(…, assign=True)."
            )
        if tensor.is_complex():
            raise TraceError(
                f"'{name}' is complex, which no integers stand for; write the network with real "
                "and imaginary parts as channels."
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
