"""Weights that a network computes from its parameters alone, such as standardised filters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

__all__ = ["ComputedWeight", "computed_weight", "parametrize_with"]

_ORIGINAL = "original"


@final
@dataclass(frozen=True, kw_only=True)
class ComputedWeight:
    """A weight as a function of one parameter.

    Args:
        original: The parameter with the most numbers of those that it is computed from.
        function: From that one to the weight; it holds the others.
        value: What it gives now.
    """

    original: nn.Parameter
    function: fx.GraphModule
    value: Tensor


def computed_weight(value: object, graph_module: fx.GraphModule) -> ComputedWeight | None:
    """How a tensor is computed from parameters; ``None`` where an input or a module takes part.

    Args:
        value: A node of the graph.
        graph_module: Holds the parameters.
    """
    if not isinstance(value, fx.Node) or value.op == "get_attr":
        return None
    nodes = _in_order(value)
    stored = [node for node in nodes if node.op == "get_attr"]
    if not all(node.op in {"get_attr", "call_function", "call_method"} for node in nodes):
        return None
    tensors = {str(node.target): _attribute(str(node.target), graph_module) for node in stored}
    parameters = [t for t in tensors.values() if isinstance(t, nn.Parameter)]
    if not parameters:
        return None
    original = max(parameters, key=lambda parameter: parameter.numel())
    function = _function(nodes, tensors, original)
    return ComputedWeight(original=original, function=function, value=function(original).detach())


def parametrize_with(layer: nn.Module, name: str, computed: ComputedWeight) -> None:
    """Let a layer compute its parameter of that name whenever it is read."""
    setattr(layer, name, computed.original)
    parametrize.register_parametrization(layer, name, computed.function, unsafe=True)


def _in_order(value: fx.Node) -> list[fx.Node]:
    """The nodes that a value is computed by, in the order of the graph."""
    found, left = {value}, [value]
    while left:
        more = set(left.pop().all_input_nodes) - found
        found |= more
        left += more
    return [node for node in value.graph.nodes if node in found]


def _attribute(path: str, graph_module: fx.GraphModule) -> Tensor | None:
    owner, _, name = path.rpartition(".")
    found = getattr(graph_module.get_submodule(owner), name, None)
    return found if isinstance(found, Tensor) else None


def _function(
    nodes: list[fx.Node], tensors: dict[str, Tensor | None], original: nn.Parameter
) -> fx.GraphModule:
    graph, root = fx.Graph(), nn.Module()
    made: dict[fx.Node, fx.Node] = {}
    given = graph.placeholder(_ORIGINAL)
    names = dict(_named(root, tensors, original))
    for node in nodes:
        path = str(node.target)
        if node.op != "get_attr":
            made[node] = graph.node_copy(node, made.__getitem__)
        elif tensors[path] is original:
            made[node] = given
        else:
            made[node] = graph.get_attr(names[path])
    graph.output(made[nodes[-1]])
    return fx.GraphModule(root, graph, class_name="ComputedWeight")


def _named(
    root: nn.Module, tensors: dict[str, Tensor | None], original: nn.Parameter
) -> Iterator[tuple[str, str]]:
    """Keep what is read beside the original in a module; each path with its name there."""
    for number, (path, tensor) in enumerate(tensors.items()):
        if tensor is original:
            continue
        name = f"{path.rpartition('.')[2]}_{number}"
        if isinstance(tensor, nn.Parameter):
            root.register_parameter(name, tensor)
        else:
            root.register_buffer(name, tensor)
        yield path, name
