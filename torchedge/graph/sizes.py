"""What code makes of traced sizes alone: new tensors, and constants brought to such a size."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx

from torchedge.graph.values import ValueProxy

__all__ = ["sizes_traced"]

_FACTORIES = (
    *("zeros", "ones", "empty", "full", "rand", "randn", "randint"),
    *("arange", "linspace", "eye", "randperm"),
)
_METHODS = (
    *("expand", "view", "reshape", "repeat", "tile", "narrow", "unflatten", "broadcast_to"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
)


@contextmanager
def sizes_traced(tracer: fx.Tracer) -> Iterator[None]:
    """Note ``torch.zeros(x.shape[0], 4)`` and ``self.positions.expand(x.shape[0], -1)``.

    Neither asks its arguments whether they are stand-ins where no tensor among them is one, so they
    are exchanged for the time of the trace, as torch.fx does with methods of ``nn.Module``.
    """
    with (
        _exchanged(torch, {name: _traced_factory(tracer, name) for name in _FACTORIES}),
        _exchanged(Tensor, {name: _traced_method(tracer, name) for name in _METHODS}),
    ):
        yield


@contextmanager
def _exchanged(holder: Any, functions: dict[str, Callable[..., Any]]) -> Iterator[None]:
    before = {name: vars(holder)[name] for name in functions if name in vars(holder)}
    try:
        for name, function in functions.items():
            setattr(holder, name, function)
        yield
    finally:
        for name in functions:
            delattr(holder, name)
        for name, function in before.items():
            setattr(holder, name, function)


def _traced_factory(tracer: fx.Tracer, name: str) -> Callable[..., Any]:
    original = getattr(torch, name)

    @functools.wraps(original)
    def made(*args: Any, **kwargs: Any) -> Any:
        if _holds_stand_in(args, kwargs):
            return tracer.create_proxy("call_function", original, args, kwargs)
        return original(*args, **kwargs)

    return made


def _traced_method(tracer: fx.Tracer, name: str) -> Callable[..., Any]:
    original = getattr(Tensor, name)

    @functools.wraps(original)
    def called(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _holds_stand_in(args, kwargs):
            return tracer.create_proxy("call_method", name, (tensor, *args), kwargs)
        return original(tensor, *args, **kwargs)

    return called


def _holds_stand_in(*arguments: Any) -> bool:
    return any(issubclass(type(leaf), ValueProxy) for leaf in pytree.tree_leaves(arguments))
