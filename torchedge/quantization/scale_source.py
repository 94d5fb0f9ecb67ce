"""Finding the grid that a tensor is on."""

from torch import fx

from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.operations import kind_of, operands

__all__ = ["input_scale_source", "scale_source"]


def input_scale_source(node: fx.Node, graph_module: fx.GraphModule) -> FakeQuantize | None:
    """The quantiser whose scale the first input of ``node`` carries, if it is quantised."""
    sources = operands(node)
    return scale_source(sources[0], graph_module) if sources else None


def scale_source(tensor: fx.Node, graph_module: fx.GraphModule) -> FakeQuantize | None:
    """The quantiser whose scale a tensor carries, if it is quantised."""
    while True:
        if tensor.op == "call_module":
            module = graph_module.get_submodule(str(tensor.target))
            if isinstance(module, FakeQuantize):
                return None if module.excluded else module
        sources = operands(tensor)
        if kind_of(tensor, graph_module) != "same_values" or not sources:
            return None
        tensor = sources[0]
