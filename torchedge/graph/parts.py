"""The parts of a network that can be passed where the whole cannot."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from torch import Tensor, nn

from torchedge.graph.locate import observed_arguments

__all__ = ["Accepts", "way_out"]

Accepts: TypeAlias = Callable[[nn.Module, tuple[Tensor, ...]], object]

_NAMED = 3


def way_out(model: nn.Module, example_inputs: tuple[Tensor, ...], accepts: Accepts) -> str:
    """A sentence that names the largest parts that are accepted, or an empty text.

    Args:
        model: A network that was refused.
        example_inputs: One valid set of inputs.
        accepts: Raises an exception for a module that cannot be passed with these inputs.
    """
    try:
        calls = observed_arguments(model, example_inputs)
    except Exception:
        return ""
    tensors = {path: args for path, (args, kwargs) in calls.items() if _plain(args, kwargs)}
    found = list(_accepted("", model, tensors, accepts))
    found.sort(key=lambda path: -_parameters(model.get_submodule(path)))
    if not found:
        return ""
    names = ", ".join(f"'{path}'" for path in found[:_NAMED])
    return f" What can be passed by itself: {names}."


def _plain(args: tuple[object, ...], kwargs: object) -> bool:
    return bool(args) and not kwargs and all(isinstance(value, Tensor) for value in args)


def _accepted(
    path: str, model: nn.Module, calls: dict[str, tuple[Tensor, ...]], accepts: Accepts
) -> Iterator[str]:
    for name, child in model.get_submodule(path).named_children():
        inside = f"{path}.{name}" if path else name
        if not _parameters(child):
            continue
        if inside in calls and _is_accepted(child, calls[inside], accepts):
            yield inside
        else:
            yield from _accepted(inside, model, calls, accepts)


def _is_accepted(module: nn.Module, args: tuple[Tensor, ...], accepts: Accepts) -> bool:
    try:
        accepts(module, args)
    except Exception:
        return False
    return True


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
