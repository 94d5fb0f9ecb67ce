"""Operations that change a tensor in place, as operations that return a new one.

In a graph, what reads a tensor says which value it reads. A quantiser between a tensor and an
operation in place would leave other readers the value from before, so a trace writes ``relu(x)``
for ``relu_(x)``, and whatever names ``x`` afterwards reads the result.
"""

import copy
import inspect
import operator
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, fx, nn

__all__ = ["Call", "out_of_place", "set_items", "without_in_place"]

_OPERATORS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


@final
@dataclass(frozen=True, kw_only=True)
class Call:
    """A call as a graph holds it.

    Args:
        target: Function, method or path.
        args: Arguments.
        kwargs: Keyword arguments.
        changes_first: Whether the original changes its first argument in place.
    """

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    changes_first: bool = False


def set_items(x: Tensor, index: Any, value: Any) -> Tensor:  # noqa: ANN401 - as an index is
    """``x[index] = value`` on a copy of ``x``.

    Example:
        >>> set_items(torch.zeros(3), 1, 5.0)
        tensor([0., 5., 0.])
    """
    changed = x.clone()
    changed[index] = value
    return changed


def out_of_place(kind: str, call: Call, root: nn.Module) -> Call:
    """The call that returns what the original leaves in its first argument.

    Args:
        kind: ``call_function``, ``call_method`` or ``call_module``.
        call: As it was written.
        root: Holds the modules.
    """
    if kind == "call_module":
        in_place = getattr(root.get_submodule(str(call.target)), "inplace", False) is True
        return Call(target=call.target, args=call.args, kwargs=call.kwargs, changes_first=in_place)
    if kind == "call_method":
        return _method(call)
    return _function(call) if kind == "call_function" else call


def _method(call: Call) -> Call:
    name = str(call.target)
    plain = name.removesuffix("_")
    if plain == name or name.endswith("__") or not hasattr(Tensor, plain):
        return call
    return replace(call, target=plain, changes_first=True)


def _function(call: Call) -> Call:
    if call.target is set_items:
        return replace(call, changes_first=True)
    if call.target in _OPERATORS:
        return replace(call, target=_OPERATORS[call.target], changes_first=True)
    name = getattr(call.target, "__name__", "")
    plain = getattr(torch, name.removesuffix("_"), None)
    if name.endswith("_") and not name.endswith("__") and plain is not None:
        return replace(call, target=plain, changes_first=True)
    return _without_argument(call)


def _without_argument(call: Call) -> Call:
    """Without ``inplace=True``, by name or by place."""
    if not (call.kwargs.get("inplace") is True or any(a is True for a in call.args)):
        return call
    try:
        bound = inspect.signature(call.target).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):  # a function without a signature has no such argument
        return call
    if bound.arguments.get("inplace") is not True:
        return call
    bound.arguments["inplace"] = False
    return Call(target=call.target, args=bound.args, kwargs=bound.kwargs, changes_first=True)


def without_in_place(graph_module: fx.GraphModule) -> None:
    """Exchange, in place, called modules that work in place for copies that do not."""
    for path in {str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"}:
        module = graph_module.get_submodule(path)
        if getattr(module, "inplace", False) is True:
            plain = copy.copy(module)
            plain.inplace = False  # type: ignore[assignment]
            graph_module.set_submodule(path, plain)
