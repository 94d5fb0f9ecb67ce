"""A model as a torch.fx graph."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import fx, nn
from typing_extensions import override

from torchedge.errors import TraceError

__all__ = [
    "DROPS_PATHS",
    "axes_of_results",
    "evaluating",
    "trace",
]

DROPS_PATHS = frozenset({"StochasticDepth", "DropPath"})  # by name: several packages have one
_LIBRARIES = tuple(str(Path(module.__file__ or "").parent) for module in (torch, fx))


@final
class _Tracer(fx.Tracer):
    """Remembers which module it was in, so that a failure can name it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = getattr(type(m), "traced_whole", False)
        ours = ours or type(m).__name__ in DROPS_PATHS  # its forward depends on its mode
        return ours or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> fx.GraphModule:
    """The model as a graph that shares its parameters, traced as it computes in evaluation.

    A class with ``traced_whole = True`` is one node of the graph.

    Args:
        model: A network that torch.fx can follow.
        example_inputs: One valid set of inputs.

    Raises:
        TraceError: The Python code depends on the data, or does what torch.fx cannot follow; the
            text names the module and the line.
    """
    tracer = _Tracer()
    try:
        with evaluating(model):
            graph = tracer.trace(model)
    except Exception as error:
        raise TraceError(_trace_message(error, tracer.inside, model)) from error
    return fx.GraphModule(tracer.root, graph, class_name=type(model).__name__)


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
        if not frame.filename.startswith(_LIBRARIES) and Path(frame.filename) != Path(__file__)
    ]
    line = f" at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line})" if frames else ""
    return (
        f"torch.fx cannot follow {type(module).__name__} '{path or 'the model itself'}'{line}: "
        f"{str(error).splitlines()[0]}. Write that line without Python control flow on tensor "
        "values or shapes (torch.where, a fixed number of steps), or quantise the parts around it."
    )
