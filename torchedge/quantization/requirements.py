"""What a network must be like before it is quantised."""

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from torchedge.errors import SchemeError, WeightError
from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.operations import FLOAT_LAYERS, kind_of

__all__ = ["require_finite_weights", "require_known_layers"]

_FLOAT_CONTAINERS = (nn.Embedding, nn.EmbeddingBag, nn.PReLU)


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
                f"'{node.target}' is a {type(module).__name__} with weights, which has no integer "
                "form here and would stay in float unseen; write it with convolutions and linear "
                "layers, or take it out of the model that is prepared."
            )
