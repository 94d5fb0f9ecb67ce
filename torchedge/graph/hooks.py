"""Forward hooks, which are part of what a module computes."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from torch import fx, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from torchedge.errors import TraceError
from torchedge.telling import warn

__all__ = [
    "has_hooks",
    "require_no_backward_hooks",
    "require_no_hooks",
    "run_with_hooks",
    "without_hooks",
]

# They compute a weight, and are known where weights are read.
_OF_WEIGHTS = (prune.BasePruningMethod, SpectralNorm, WeightNorm)


def run_with_hooks(
    module: nn.Module,
    forward: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # noqa: ANN401 - whatever a module returns
    """Call ``forward`` between the hooks of a module, in the order of ``nn.Module.__call__``.

    Hooks that compute a weight are left out. One that returns nothing only looks on: it is warned
    about, because nothing of it stays in the graph.
    """
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, _OF_WEIGHTS):
            continue
        if key in module._forward_pre_hooks_with_kwargs:
            changed = hook(module, args, kwargs)
            args, kwargs = (args, kwargs) if changed is None else changed
        else:
            changed = hook(module, args)
            args = args if changed is None else changed
            args = args if isinstance(args, tuple) else (args,)
        _warn_of_looking_on(module, hook, changed)
    result = forward(*args, **kwargs)
    for key, hook in module._forward_hooks.items():
        with_kwargs = key in module._forward_hooks_with_kwargs
        given = (args, kwargs, result) if with_kwargs else (args, result)
        changed = hook(module, *given)
        _warn_of_looking_on(module, hook, changed)
        result = result if changed is None else changed
    return result


def _warn_of_looking_on(module: nn.Module, hook: object, changed: object) -> None:
    if changed is None:
        warn(
            f"the hook {_name(hook)} of {type(module).__name__} changes nothing and is left out of "
            "the graph; register it on the result to go on observing.",
        )


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks beside those that compute a weight."""
    return any(True for _ in _hooks(module, ("_forward_pre_hooks", "_forward_hooks")))


def without_hooks(graph_module: fx.GraphModule) -> None:
    """Exchange, in place, modules whose hooks were traced for such without, of the same weights."""
    for path, module in list(graph_module.named_modules()):
        if path and has_hooks(module):
            plain = copy.copy(module)
            kept = {
                k: h for k, h in module._forward_pre_hooks.items() if isinstance(h, _OF_WEIGHTS)
            }
            plain._forward_pre_hooks = OrderedDict(kept)
            plain._forward_hooks = OrderedDict()
            graph_module.set_submodule(path, plain)


def require_no_backward_hooks(model: nn.Module) -> None:
    """Refuse hooks of the backward pass, which no graph of the forward pass can hold.

    Raises:
        TraceError: A module has one; the text names it.
    """
    _require_none(model, ("_backward_pre_hooks", "_backward_hooks"))


def require_no_hooks(model: nn.Module) -> None:
    """Refuse all hooks but masks and weight norms.

    Raises:
        TraceError: A module has one; the text names it.
    """
    names = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    _require_none(model, names)


def _require_none(model: nn.Module, stores: tuple[str, ...]) -> None:
    for path, module in model.named_modules():
        for hook in _hooks(module, stores):
            raise TraceError(
                f"{type(module).__name__} '{path or 'the model itself'}' has the hook "
                f"{_name(hook)}, which would be lost; remove it (the handle that register_…_hook "
                "returned has remove()), or write what it does in forward."
            )


def _hooks(module: nn.Module, stores: tuple[str, ...]) -> Iterator[object]:
    for store in stores:
        hooks = getattr(module, store).values()
        yield from (hook for hook in hooks if not isinstance(hook, _OF_WEIGHTS))


def _name(hook: object) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))
