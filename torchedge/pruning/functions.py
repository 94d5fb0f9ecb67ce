"""The graph that pruning follows, with the code of functions in it where that can be traced."""

import operator

from torch import Tensor, fx, nn

from torchedge.errors import TraceError
from torchedge.graph.faithful import FaithfulGraph, faithful_graph
from torchedge.graph.guard import deviation, reference_of, two_samples

__all__ = ["function_left_whole", "graph_to_follow"]

_HOLDS_HEADS = "multi_head_attention_forward"
_LIBRARIES = ("torch", "_operator", "operator", "math", "builtins")


def function_left_whole(node: fx.Node) -> str:
    """The name of a function whose code the graph does not show, or an empty text."""
    if node.op != "call_function" or node.target is operator.getitem:
        return ""
    home = getattr(node.target, "__module__", None) or "torch"
    name = getattr(node.target, "__name__", str(node.target))
    known = home.partition(".")[0] in _LIBRARIES and name != _HOLDS_HEADS
    return "" if known else str(name)


def graph_to_follow(
    model: nn.Module, opened: nn.Module, example_inputs: tuple[Tensor, ...]
) -> FaithfulGraph:
    """:func:`~torchedge.graph.faithful.faithful_graph`, looking into functions that are left whole.

    Such as the attention of torchvision's Swin, through which no channel could be followed. What
    cannot be traced stays whole, and so does what would be another network with two samples.

    Args:
        model: The user's network.
        opened: A copy of it, of whose layers the graph is made.
        example_inputs: One valid set of inputs.

    Raises:
        TraceError: As there.
    """
    traced = faithful_graph(model, opened, example_inputs)
    if not any(map(function_left_whole, traced.graph_module.graph.nodes)):
        return traced
    try:
        inside = faithful_graph(model, opened, example_inputs, into_functions=True)
        same = _same_with_two(model, inside.graph_module, example_inputs)
    except TraceError:
        return traced
    return inside if same and inside.evaluation_only == traced.evaluation_only else traced


def _same_with_two(
    model: nn.Module, graph_module: fx.GraphModule, example_inputs: tuple[Tensor, ...]
) -> bool:
    reference = reference_of(model, (tuple(map(two_samples, example_inputs)), {}))
    return deviation(reference, graph_module, training=False) == 0
