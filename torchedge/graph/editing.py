"""Small changes of a graph that several rewrites make."""

from itertools import count
from typing import Any

from torch import fx
from torch.fx.graph_module import GraphModule

__all__ = ["arguments_of", "call_instead", "free_path"]


def arguments_of(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a call by name, those given by place included."""
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def call_instead(node: fx.Node, path: str, graph_module: GraphModule) -> fx.Node:
    """Call the module at ``path`` on the first input of ``node`` where ``node`` was."""
    graph = graph_module.graph
    with graph.inserting_before(node):
        call = graph.call_module(path, (arguments_of(node, ("input",))["input"],))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.erase_node(node)
    return call


def free_path(path: str, graph_module: GraphModule) -> str:
    """``path``, or with a number behind it where a module or an attribute is there already."""
    owner, _, _ = path.rpartition(".")
    taken = {name for name, _ in graph_module.named_modules()}
    holder = graph_module.get_submodule(owner) if owner in taken else None
    paths = (path if number == 0 else f"{path}_{number}" for number in count())
    return next(p for p in paths if p not in taken and not hasattr(holder, p.rpartition(".")[2]))
