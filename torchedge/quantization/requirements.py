"""What a network must be like before it is quantised."""

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from torchedge.errors import SchemeError, WeightError
from torchedge.graph.tracer import line_of
from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.operations import FLOAT_LAYERS, kind_of

__all__ = [
    "require_finite_weights",
    "require_float",
    "require_float32",
    "require_known_layers",
    "require_something_to_quantize",
    "require_usable_weights",
]

_OF_TORCH = (
    *("torch.ao.nn.quantized", "torch.ao.nn.qat", "torch.ao.nn.intrinsic.q"),
    *("torch.ao.quantization.fake", "torch.ao.quantization.observer"),
)
_FLOAT_CONTAINERS = (nn.Embedding, nn.EmbeddingBag, nn.PReLU)


def require_float(model: nn.Module) -> None:
    """Refuse a network that torch's own quantisation has changed.

    Raises:
        SchemeError: A layer of it is quantised; the text names it.
    """
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_OF_TORCH):
            raise SchemeError(
                f"'{name or 'the model itself'}' is a {type(module).__name__}, which torch.ao has "
                "quantised already; give the float network."
            )


def require_usable_weights(model: nn.Module) -> None:
    """Refuse weights that no integer can stand for, and those of fewer bits than float32.

    Networks of float64 can be prepared, to be compared without rounding; none can be saved.

    Raises:
        WeightError: A parameter or buffer holds NaN or infinity, or is of half precision.
    """
    require_finite_weights(model)
    _require_types(model, (torch.float32, torch.float64))


def require_float32(model: nn.Module) -> None:
    """Refuse weights of another type than float32.

    Raises:
        WeightError: A parameter is.
    """
    _require_types(model, (torch.float32,))


def _require_types(model: nn.Module, known: tuple[torch.dtype, ...]) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype not in known:
            raise WeightError(
                f"'{name}' is {str(parameter.dtype).removeprefix('torch.')}; integers are made of "
                "float32 weights: call model.float() first, and give float32 inputs."
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


def _finite_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules():
        if not isinstance(module, FakeQuantize):  # its empty range is infinite on purpose
            yield from module.named_buffers(path, recurse=False)


def require_something_to_quantize(graph_module: fx.GraphModule) -> None:
    """Refuse a network with weights of which none is in a convolution or linear layer of the graph.

    Raises:
        SchemeError: Every weight is read by a function that has no integer form; the text names it.
    """
    nodes = graph_module.graph.nodes
    if any(kind_of(node, graph_module) in {"conv", "linear"} for node in nodes):
        return
    tensors = dict([*graph_module.named_parameters(), *graph_module.named_buffers()])
    for node in nodes:
        tensor = tensors.get(str(node.target)) if node.op == "get_attr" else None
        if tensor is not None and tensor.ndim > 1 and node.users:
            reader = next(iter(node.users))
            raise SchemeError(
                f"nothing of the model would be quantised: '{node.target}' is read by "
                f"'{reader.name}'{line_of(reader)}, which is no convolution or linear layer. "
                "Write it with nn.Conv2d, nn.Linear and the like."
            )


def require_known_layers(graph_module: fx.GraphModule) -> None:
    """Refuse layers with weights that are neither quantised nor float on purpose.

    Raises:
        SchemeError: Such a layer is called; the text names it.
    """
    for node in graph_module.graph.nodes:
        if node.op != "call_module" or kind_of(node, graph_module) != "float":
            continue
        module = graph_module.get_submodule(str(node.target))
        known = isinstance(module, FLOAT_LAYERS + _FLOAT_CONTAINERS)
        if not known and next(module.parameters(), None) is not None:
            raise SchemeError(
                f"'{node.target}' is a {type(module).__name__} with weights{line_of(node)}, which "
                "has no integer form here and would stay in float unseen; write it with "
                "convolutions and linear layers, or take it out of the model that is prepared."
            )
