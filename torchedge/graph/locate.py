"""Finding the modules of a network whose graphs compute something else than they do."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.errors import TraceError
from torchedge.graph.copies import copied
from torchedge.graph.guard import (
    TOLERANCE,
    Arguments,
    Reference,
    deviation,
    outputs_differ,
    outputs_of,
    reference_of,
)
from torchedge.graph.modes import modules_for_modes
from torchedge.graph.trace import flat_tensors, is_leaf, trace

__all__ = [
    "Difference",
    "differences",
    "first_difference",
    "observed_arguments",
    "traced_with_modes",
]

_WEIGHTED = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Bilinear, nn.RNNBase, nn.MultiheadAttention),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


@final
@dataclass(frozen=True, kw_only=True)
class Difference:
    """A module whose graph computes something else, while the modules in it are right.

    Args:
        path: Where it is.
        in_evaluation: Whether it differs in evaluation mode already.
        weighted: Whether there are convolutions or linear layers in it.
    """

    path: str
    in_evaluation: bool
    weighted: bool

    @property
    def can_stay_whole(self) -> bool:
        """Whether nothing is lost if it is one node of the graph."""
        return bool(self.path) and not self.in_evaluation and not self.weighted


def traced_with_modes(
    module: nn.Module,
    arguments: Arguments,
    leaves: Collection[str] = (),
    *,
    following: bool = True,
    into_functions: bool = False,
) -> fx.GraphModule:
    """The graph of a module.

    Args:
        module: What is traced.
        arguments: What it is called with.
        leaves: Paths of modules that stay one node.
        following: Dropouts and batch norms that are functions follow the mode; otherwise they stay
            as they are in evaluation.
        into_functions: Whether functions passed to ``torch.fx.wrap`` are traced, too.

    Raises:
        TraceError: torch.fx cannot follow it.
    """
    graph_module = trace(module, *arguments, leaves=leaves, into_functions=into_functions)
    if following:
        modules_for_modes(graph_module, module)
    return graph_module


def observed_arguments(
    model: nn.Module, example_inputs: tuple[Tensor, ...]
) -> dict[str, Arguments]:
    """What each module that is not one node of the graph is called with first, in evaluation."""
    observed = copied(model).eval()
    found: dict[str, Arguments] = {}
    for path, module in observed.named_modules():
        if not is_leaf(module):
            module.register_forward_pre_hook(_noting(path, found), with_kwargs=True)
    with torch.no_grad():
        observed(*(x.clone() for x in example_inputs))
    return found


def _noting(path: str, found: dict[str, Arguments]) -> Any:  # noqa: ANN401 - torch's hook type
    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.setdefault(path, (args, kwargs))

    return note


def differences(
    model: nn.Module, example_inputs: tuple[Tensor, ...], leaves: Collection[str]
) -> Iterator[Difference]:
    """The innermost modules whose graphs differ from them, in the order of the modules.

    Args:
        model: A network that can be traced.
        example_inputs: One valid set of inputs.
        leaves: Paths of modules that are one node of the graph.
    """
    observed = observed_arguments(model, example_inputs)
    calls = {path: a for path, a in observed.items() if path not in leaves}
    yield from _innermost("", model, calls, leaves)


def _innermost(
    path: str, model: nn.Module, calls: dict[str, Arguments], leaves: Collection[str]
) -> Iterator[Difference]:
    module = model.get_submodule(path)
    inside = [p for p in calls if p != path and _is_in(p, path)]
    outermost = [p for p in inside if not any(_is_in(p, q) for q in inside if q != p)]
    within = [
        difference
        for child in outermost
        if _wrong_modes(model.get_submodule(child), calls[child], _inside(leaves, child))
        for difference in _innermost(child, model, calls, leaves)
    ]
    if within:
        yield from within
        return
    wrong = _wrong_modes(module, calls[path], _inside(leaves, path))
    if wrong:
        yield Difference(
            path=path,
            in_evaluation=False in wrong,
            weighted=any(isinstance(part, _WEIGHTED) for part in module.modules()),
        )


def _is_in(path: str, owner: str) -> bool:
    return path.startswith(f"{owner}.") if owner else path != ""


def _inside(leaves: Collection[str], path: str) -> tuple[str, ...]:
    if not path:
        return tuple(leaves)
    return tuple(leaf.removeprefix(f"{path}.") for leaf in leaves if _is_in(leaf, path))


def _wrong_modes(
    module: nn.Module, arguments: Arguments, leaves: Collection[str]
) -> tuple[bool, ...]:
    """The modes, evaluation as ``False`` and training as ``True``, in which the graph differs."""
    try:
        reference = reference_of(module, arguments)
        made = _FromArguments(traced_with_modes(module, arguments, leaves))
    except TraceError:
        return (False,)
    return tuple(mode for mode in (False, True) if deviation(reference, made, training=mode))


@final
class _FromArguments(nn.Module):
    """A graph, called as the module was that it was made of."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__()
        self.graph_module = graph_module

    @override
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.graph_module(*flat_tensors(args, kwargs))


def first_difference(
    model: nn.Module, made: nn.Module, reference: Reference, *, training: bool
) -> str:
    """The path of the first layer that returns something else in ``made`` than in ``model``.

    Layers with a batch norm of their own are passed over: they return what the norm returns.
    """
    given = reference.training_arguments if training else reference.arguments
    wanted, found = (_layer_results(m, given, training=training) for m in (model, made))
    folded = {p for p, m in made.named_modules() if getattr(m, "batchnorm", None) is not None}
    for path, result in wanted.items():
        same = path in found and outputs_differ((result,), (found[path],)) <= TOLERANCE
        if path in found and path not in folded and not same:
            return path
    return ""


def _layer_results(model: nn.Module, arguments: Arguments, *, training: bool) -> dict[str, Tensor]:
    observed = copied(model).train(training)
    found: dict[str, Tensor] = {}

    def noting(path: str) -> Callable[[nn.Module, object, object], None]:
        def note(_: nn.Module, __: object, result: object) -> None:
            if isinstance(result, Tensor):
                found.setdefault(path, result.detach().clone())

        return note

    for path, module in observed.named_modules():
        if path:
            module.register_forward_hook(noting(path))
    outputs_of(observed, arguments)
    return found
