"""Which operations between layers take time of their own: activations that runtimes do not fuse."""

from collections.abc import Mapping

from torch import fx

__all__ = ["operations_of"]

_SWISH = ("Sigmoid", "Mul")
_BY_NAME: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("SiLU", "silu", "silu_", "Swish"), _SWISH),
    **dict.fromkeys(("Sigmoid", "sigmoid", "sigmoid_"), ("Sigmoid",)),
    **dict.fromkeys(("Tanh", "tanh", "tanh_"), ("Tanh",)),
    **dict.fromkeys(("GELU", "gelu"), ("Erf", "Mul", "Mul")),
    **dict.fromkeys(("Hardswish", "hardswish"), ("HardSwish",)),
    **dict.fromkeys(("Hardsigmoid", "hardsigmoid"), ("HardSigmoid",)),
    **dict.fromkeys(("Mish", "mish"), ("Softplus", "Tanh", "Mul")),
    **dict.fromkeys(("mul", "mul_", "imul"), ("Mul",)),
}


def operations_of(node: fx.Node, graph_module: fx.GraphModule) -> tuple[str, ...]:
    """ONNX operators, one after another, that a node becomes and that no layer takes in.

    A ReLU and its kin are part of the convolution before them, as is the sum of a residual.

    Example:
        >>> from torch import nn
        >>> graph_module = fx.symbolic_trace(nn.Sequential(nn.Identity(), nn.SiLU(), nn.ReLU()))
        >>> [operations_of(node, graph_module) for node in graph_module.graph.nodes][2:4]
        [('Sigmoid', 'Mul'), ()]
    """
    if node.op == "call_module":
        name = type(graph_module.get_submodule(str(node.target))).__name__
    elif node.op in {"call_function", "call_method"}:
        name = getattr(node.target, "__name__", str(node.target))
    else:
        return ()
    return _BY_NAME.get(name, ())
