"""Constants of a graph that become part of the layers before them, and weights that are read."""

import operator
from collections import Counter
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from torchedge.graph.editing import free_path
from torchedge.graph.values import result_of

__all__ = ["fold_channel_constants", "keep_weights_that_are_read"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TIMES = {operator.mul, torch.mul}
_PLUS = {operator.add, torch.add}


def fold_channel_constants(graph_module: fx.GraphModule) -> None:
    """Fold, in place, constants that scale or shift the channels of a layer's result into it.

    So a batch norm with frozen statistics, which is written as ``x * scale + shift`` with buffers,
    costs nothing. Constants are buffers; what is trained stays where it is.

    Args:
        graph_module: A graph traced with example inputs; its layers are changed.
    """
    own = _layers_of_their_own(graph_module)
    for node in list(graph_module.graph.nodes):
        layer = own.get(str(node.target)) if node.op == "call_module" else None
        while layer is not None and _fold_next(node, layer, graph_module):
            pass
    graph_module.graph.eliminate_dead_code()


def _fold_next(node: fx.Node, layer: nn.Module, graph_module: fx.GraphModule) -> bool:
    """Fold what reads a layer's result, if that is a constant for each channel."""
    result = result_of(node)
    if result is None or len(node.users) != 1:
        return False
    user = next(iter(node.users))
    constant = _constant_beside(node, user, graph_module)
    axis = len(result.shape) - 1 if isinstance(layer, nn.Linear) else 1
    channels = None if constant is None else _per_channel(constant, result.shape, axis)
    if channels is None:
        return False
    _fold(layer, channels, times=user.target in _TIMES)
    user.replace_all_uses_with(node)
    graph_module.graph.erase_node(user)
    return True


def _layers_of_their_own(graph_module: fx.GraphModule) -> dict[str, nn.Module]:
    """Layers that are called once and whose weights nothing else has or computes."""
    calls = Counter(str(n.target) for n in graph_module.graph.nodes if n.op == "call_module")
    holders = Counter(id(p) for m in graph_module.modules() for p in m._parameters.values())
    return {
        path: layer
        for path, layer in graph_module.named_modules()
        if isinstance(layer, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED))
        and calls[path] == 1
        and not parametrize.is_parametrized(layer)
        and all(holders[id(p)] == 1 for p in layer.parameters(recurse=False))
    }


def _constant_beside(node: fx.Node, user: fx.Node, graph_module: fx.GraphModule) -> Tensor | None:
    if user.op != "call_function" or user.target not in _TIMES | _PLUS or user.kwargs:
        return None
    others = [a for a in user.args if a is not node]
    if len(others) != 1 or not isinstance(others[0], fx.Node) or others[0].op != "get_attr":
        return None
    path, _, name = str(others[0].target).rpartition(".")
    found = graph_module.get_submodule(path)._buffers.get(name)
    return found if isinstance(found, Tensor) and found.is_floating_point() else None


def _per_channel(constant: Tensor, shape: tuple[int, ...], axis: int) -> Tensor | None:
    """The constant as one number a channel, if it is nothing else."""
    aligned = constant.reshape(*[1] * (len(shape) - constant.ndim), *constant.shape)
    others = [size for place, size in enumerate(aligned.shape) if place != axis]
    if len(aligned.shape) != len(shape) or any(size != 1 for size in others):
        return None
    return (
        aligned.reshape(-1).expand(shape[axis]) if aligned.shape[axis] in {1, shape[axis]} else None
    )


@torch.no_grad()
def _fold(layer: nn.Module, channels: Tensor, *, times: bool) -> None:
    assert isinstance(layer, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED))
    weight, bias = layer.weight, layer.bias
    channels = channels.to(weight)
    trained = weight.requires_grad
    if times:
        layer.weight = nn.Parameter(_scaled(layer, channels), requires_grad=trained)
        scaled = None if bias is None else bias * channels
    else:
        scaled = channels.clone() if bias is None else bias + channels
    if scaled is not None:
        layer.bias = nn.Parameter(
            scaled, requires_grad=trained if bias is None else bias.requires_grad
        )


def _scaled(layer: nn.Module, channels: Tensor) -> Tensor:
    weight = cast(Tensor, layer.weight)
    if not isinstance(layer, _TRANSPOSED):
        return weight * channels.view(-1, *[1] * (weight.ndim - 1))
    by_group = channels.view(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
    grouped: Tensor = weight.unflatten(0, (layer.groups, -1))
    return (grouped * by_group).flatten(0, 1)


def keep_weights_that_are_read(graph_module: fx.GraphModule) -> None:
    """Give, in place, parameters that are read beside their layer a name of their own.

    The layer may be exchanged for one on integers, which has the parameter somewhere else; both
    names stay the same parameter.
    """
    called = {str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"}
    for node, owner, name in list(_parameters_read(graph_module)):
        if owner in called:
            parameter = graph_module.get_submodule(owner)._parameters[name]
            path = free_path(f"{owner}_{name}".replace(".", "_"), graph_module)
            graph_module.register_parameter(path, parameter)
            node.target = path


def _parameters_read(graph_module: fx.GraphModule) -> Iterator[tuple[fx.Node, str, str]]:
    for node in graph_module.graph.nodes:
        owner, _, name = str(node.target).rpartition(".")
        if node.op == "get_attr" and name in graph_module.get_submodule(owner)._parameters:
            yield node, owner, name
