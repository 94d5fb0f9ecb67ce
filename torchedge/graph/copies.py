"""Copies of a network that every transform starts from."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.weight_norm import WeightNorm

from torchedge.arguments import require
from torchedge.errors import TraceError
from torchedge.graph.masks import Mask

__all__ = ["copied", "copied_with_parametrizations"]

_Network = TypeVar("_Network", bound=nn.Module)


def copied(model: _Network) -> _Network:
    """A deep copy; tensors that a module keeps from its last run come along without their history.

    Raises:
        TraceError: It is no network, or a module keeps what cannot be copied, such as an open file
            or a lock; the text names it.

    Example:
        >>> class Keeps(nn.Module):
        ...     def forward(self, x):
        ...         self.kept = 2 * x
        ...         return self.kept
        >>> keeps = Keeps()
        >>> _ = keeps(torch.ones(1, requires_grad=True))
        >>> copied(keeps).kept
        tensor([2.])
    """
    require(
        isinstance(model, nn.Module),
        "the model",
        model,
        "pass the network itself, an nn.Module",
        TraceError,
    )
    memo: dict[int, object] = {id(t): t.detach().clone() for t in _computed_tensors(model)}
    memo |= {id(trainer): None for trainer in _trainers(model)}
    try:
        return copy.deepcopy(model, dict(memo))
    except Exception as error:  # whatever the user's objects raise
        path, name = _uncopyable(model, memo)
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise TraceError(
            f"'{path or 'the model itself'}' keeps '{name}', which cannot be copied ({said}); keep "
            "it outside of the network, or set it to None first."
        ) from error


def _uncopyable(model: nn.Module, memo: dict[int, object]) -> tuple[str, str]:
    """Path of the module, and name of its attribute, that a deep copy stops at."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in {"_modules", "_parameters"}:
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                return path, name
    return "", "something"


def _computed_tensors(model: nn.Module) -> Iterator[Tensor]:
    """What cannot be copied as it is: results of operators with a gradient."""
    seen: set[int] = set()
    for module in model.modules():
        yield from (t for t in _tensors_in(vars(module), seen) if t.grad_fn is not None)


def _tensors_in(value: object, seen: set[int]) -> Iterator[Tensor]:
    """Tensors in containers and in plain objects, however deep, but not those of modules."""
    if isinstance(value, Tensor):
        yield value
    if id(value) in seen or isinstance(value, Tensor | nn.Module | type | str | bytes):
        return
    seen.add(id(value))
    for part in _parts(value):
        yield from _tensors_in(part, seen)


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return list(value)
    known = isinstance(value, ModuleType | FunctionType | MethodType)
    return [] if known else list(getattr(value, "__dict__", {}).values())


def _trainers(model: nn.Module) -> Iterator[object]:
    """What Lightning attaches while it trains: optimisers and loops, which are not the network."""
    for module in model.modules():
        trainer = vars(module).get("_trainer")
        if trainer is not None:
            yield trainer


def copied_with_parametrizations(model: nn.Module) -> nn.Module:
    """A deep copy in which hooks that compute a weight have become parametrisations.

    These are masks of ``torch.nn.utils.prune`` and ``torch.nn.utils.weight_norm``. Such a hook runs
    when its layer is called, which a layer on integers never is; a parametrisation is computed
    whenever the weight is read.

    Example:
        >>> layer = prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
        >>> parametrize.is_parametrized(copied_with_parametrizations(layer), "weight")
        True
    """
    made = copied(model)
    for module in list(made.modules()):
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, WeightNorm):
                del module._forward_pre_hooks[key]
                _weight_norm(module, hook)
        for name in _masked(module):
            original, mask = getattr(module, f"{name}_orig"), getattr(module, f"{name}_mask")
            prune.remove(module, name)
            setattr(module, name, nn.Parameter(original.detach().clone()))
            parametrize.register_parametrization(module, name, Mask(mask))
    return made


def _masked(module: nn.Module) -> list[str]:
    """Names of the parameters that a mask's hook computes."""
    names = [name.removesuffix("_orig") for name in module._parameters if name.endswith("_orig")]
    return [name for name in names if hasattr(module, f"{name}_mask")]


@torch.no_grad()
def _weight_norm(module: nn.Module, hook: WeightNorm) -> None:
    parts = [module._parameters.pop(f"{hook.name}_{part}") for part in "gv"]
    delattr(module, hook.name)
    module.register_parameter(hook.name, nn.Parameter(cast(Tensor, parts[1]).detach().clone()))
    parametrizations.weight_norm(module, hook.name, hook.dim)
    chain = module.get_submodule(f"parametrizations.{hook.name}")
    for name, part in zip(("original0", "original1"), parts, strict=True):
        chain.get_parameter(name).copy_(cast(Tensor, part))
