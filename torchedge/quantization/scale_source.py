"""Finding the grid that a tensor is on."""

from torch import fx

from torchedge.quantization.modules import FakeQuantize
from torchedge.quantization.operations import kind_of, operands

__all__ = ["input_scale_source"]


def input_scale_source(node: fx.Node, graph_module: fx.GraphModule) -> FakeQuantize | None:
    """The quantiser whose scale the first input of ``node`` carries, if it is quantised."""
    sources = operands(node)
    while sources:
        source = sources[0]
        if source.op == "call_module":
            module = graph_module.get_submodule(str(source.target))
            if isinstance(module, FakeQuantize):
                return None if module.kept_in_float else module
        if kind_of(source, graph_module) != "same_values":
            return None
        sources = operands(source)
    return None
