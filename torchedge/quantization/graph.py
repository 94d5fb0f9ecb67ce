"""A model as a torch.fx graph: tracing it, and naming what each node does."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from torchedge.errors import TraceError, WeightError
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer

__all__ = ["Kind", "input_scale_source", "kind_of", "require_finite_weights", "trace"]

Kind: TypeAlias = Literal[
    "input",
    "output",
    "conv",
    "linear",
    "batch_norm",
    "activation",
    "add",
    "average_pool",
    "same_values",
    "quantizer",
    "unknown",
]

_MODULE_KINDS: tuple[tuple[tuple[type[nn.Module], ...], Kind], ...] = (
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), "conv"),
    ((nn.Linear,), "linear"),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), "batch_norm"),
    ((nn.ReLU, nn.ReLU6), "activation"),
    ((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool2d), "average_pool"),
    (
        (nn.MaxPool1d, nn.MaxPool2d, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity),
        "same_values",
    ),
    ((FakeQuantize,), "quantizer"),
)
_FUNCTION_NAMES: dict[str, Kind] = {
    "relu": "activation",
    "relu_": "activation",
    "relu6": "activation",
    "add": "add",
    "iadd": "add",
    "add_": "add",
    "mean": "average_pool",
    "avg_pool1d": "average_pool",
    "avg_pool2d": "average_pool",
    "adaptive_avg_pool1d": "average_pool",
    "adaptive_avg_pool2d": "average_pool",
    "max_pool1d": "same_values",
    "max_pool2d": "same_values",
    "flatten": "same_values",
    "view": "same_values",
    "reshape": "same_values",
    "squeeze": "same_values",
    "unsqueeze": "same_values",
    "contiguous": "same_values",
    "dropout": "same_values",
}
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
        ours = isinstance(m, QuantizedLayer | FakeQuantize)
        return ours or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.GraphModule:
    """The model as a graph that shares its parameters.

    Raises:
        TraceError: The Python code depends on the data, or does what torch.fx cannot follow; the
            text names the module and the line.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:
        raise TraceError(_trace_message(error, tracer.inside, model)) from error
    return fx.GraphModule(tracer.root, graph, class_name=type(model).__name__)


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


def require_finite_weights(model: nn.Module) -> None:
    """Refuse weights that no integer can stand for.

    Raises:
        WeightError: A parameter or buffer holds NaN or infinity.
    """
    for name, tensor in (*model.named_parameters(), *_finite_buffers(model)):
        bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
        if bad:
            raise WeightError(
                f"'{name}' holds {bad:,} NaN or infinite values of {tensor.numel():,}; "
                "train again with a smaller learning rate, or load an earlier checkpoint."
            )


def _finite_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for path, module in model.named_modules():
        if not isinstance(module, FakeQuantize):  # its empty range is infinite on purpose
            yield from module.named_buffers(path, recurse=False)


def kind_of(node: fx.Node, graph_module: fx.GraphModule) -> Kind:
    """What a node does to its tensor; ``unknown`` stays in float."""
    if node.op == "placeholder":
        return "input"
    if node.op == "output":
        return "output"
    if node.op == "call_module":
        return _module_kind(graph_module.get_submodule(str(node.target)))
    if node.op in {"call_function", "call_method"}:
        return _function_kind(node)
    return "unknown"


def _module_kind(module: nn.Module) -> Kind:
    if isinstance(module, QuantizedLayer):
        return _module_kind(module.layer)
    written = parametrize.type_before_parametrizations(module)  # a pruning mask changes the type
    return next((kind for types, kind in _MODULE_KINDS if written in types), "unknown")


def _function_kind(node: fx.Node) -> Kind:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    kind = _FUNCTION_NAMES.get(name.strip("_") if name.startswith("__") else name, "unknown")
    if kind == "add" and not _adds_two_tensors(node):
        return "unknown"
    if name == "mean" and not _is_spatial_mean(node):
        return "unknown"
    return kind


def _adds_two_tensors(node: fx.Node) -> bool:
    return (
        len(node.args) == 2 and not node.kwargs and all(isinstance(a, fx.Node) for a in node.args)
    )


def _is_spatial_mean(node: fx.Node) -> bool:
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return isinstance(dims, list | tuple) and sorted(int(str(d)) for d in dims) in (
        [-2, -1],
        [2, 3],
    )


def input_scale_source(node: fx.Node, graph_module: fx.GraphModule) -> FakeQuantize | None:
    """The quantiser whose scale the first input of ``node`` carries, if it is quantised."""
    source = node.args[0] if node.args else None
    while isinstance(source, fx.Node):
        if source.op == "call_module":
            module = graph_module.get_submodule(str(source.target))
            if isinstance(module, FakeQuantize):
                return module
        if kind_of(source, graph_module) != "same_values":
            return None
        source = source.args[0]
    return None
