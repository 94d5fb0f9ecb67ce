"""A model as a torch.fx graph."""

import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
import torch.utils._pytree as pytree
from torch import fx, nn
from typing_extensions import override

from torchedge.errors import TraceError
from torchedge.graph.functions import looking_into_functions
from torchedge.graph.hooks import without_hooks
from torchedge.graph.in_place import without_in_place
from torchedge.graph.state import keeping_state
from torchedge.graph.tracer import LIBRARIES, ExampleTracer

__all__ = ["DROPS_PATHS", "axes_of_results", "evaluating", "flat_tensors", "is_leaf", "trace"]

DROPS_PATHS = frozenset({"StochasticDepth", "DropPath"})  # by name: several packages have one


def trace(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    leaves: Collection[str] = (),
    into_functions: bool = False,
) -> fx.GraphModule:
    """The model as a graph that shares its parameters, traced as it computes on one set of inputs.

    The model runs in evaluation mode beside the graph: what Python code asks of a tensor (its type,
    its number of axes, whether an optional argument is there) is answered from these inputs, while
    sizes stay part of the graph. The graph has one input for each tensor among the arguments. A
    class with ``traced_whole = True`` is one node of the graph. Forward hooks are traced, too.

    Args:
        model: A network that torch.fx can follow.
        args: Its arguments.
        kwargs: Its keyword arguments.
        leaves: Paths of modules that stay one node.
        into_functions: Whether functions passed to ``torch.fx.wrap`` are traced, too. Where one
            returns several tensors, which cannot be one node, they always are.

    Raises:
        TraceError: The Python code depends on the values of a tensor, or does what torch.fx cannot
            follow; the text names the module and the line.
    """
    tracer = ExampleTracer(args, kwargs or {}, leaves, _is_whole)
    try:
        looking = looking_into_functions(into_functions)
        with torch.no_grad(), evaluating(model), keeping_state(model), looking:
            graph = tracer.trace(model)
            graph_module = fx.GraphModule(tracer.root, graph, class_name=type(model).__name__)
    except Exception as error:
        if isinstance(error, AttributeError) and error.name == "node" and not into_functions:
            return trace(model, args, kwargs, leaves=leaves, into_functions=True)
        raise TraceError(_trace_message(error, tracer.inside, model)) from error
    graph_module.training = model.training
    without_hooks(graph_module)
    without_in_place(graph_module)
    return graph_module


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one node of every graph."""
    return _is_whole(module) or fx.Tracer().is_leaf_module(module, "")


def _is_whole(module: nn.Module) -> bool:
    # A path that is dropped in training depends on the mode.
    return getattr(type(module), "traced_whole", False) or type(module).__name__ in DROPS_PATHS


def flat_tensors(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
    """The tensors among arguments in the order of a traced graph's inputs."""
    leaves = pytree.tree_leaves((list(args), list(kwargs.values())))
    return tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode, and afterwards each in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@final
class _CountingAxes(fx.Interpreter):
    """Remembers how many axes each result has."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.extra_traceback = False
        self.axes: dict[fx.Node, int] = {}

    @override
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.axes[n] = result.ndim if isinstance(result, torch.Tensor) else 0
        return result


def axes_of_results(
    graph_module: fx.GraphModule, example_inputs: tuple[torch.Tensor, ...]
) -> dict[fx.Node, int]:
    """How many axes the result of each node has, found by running the graph once."""
    counting = _CountingAxes(graph_module)
    with torch.no_grad(), evaluating(graph_module):
        counting.run(*example_inputs)
    return counting.axes


def _trace_message(error: Exception, inside: list[str], model: nn.Module) -> str:
    path = inside[-1] if inside else ""
    module = model.get_submodule(path)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(LIBRARIES)
    ]
    line = f" at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line})" if frames else ""
    return (
        f"torch.fx cannot follow {type(module).__name__} '{path or 'the model itself'}'{line}: "
        f"{(str(error) or type(error).__name__).splitlines()[0]}. Write that line without Python "
        "control flow on tensor values (torch.where, a fixed number of steps), or pass the parts "
        "around it."
    )
