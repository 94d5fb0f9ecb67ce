"""Operations through which a positive factor for each channel passes unchanged."""

import math

import torch
from torch import fx, nn

from torchedge.quantization.operations import kind_of, operands

__all__ = ["carries_channels", "clips_at_six"]

# f(c · x) = c · f(x) for every c > 0, value by value.
_HOMOGENEOUS_MODULES = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6)
_HOMOGENEOUS_FUNCTIONS = frozenset(
    {"relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "relu6", "contiguous", "detach"}
)
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_DROPOUTS = frozenset({"dropout", "dropout2d", "dropout3d", "stochastic_depth"})
_PADS = ("ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad")
_RESHAPES = frozenset({"flatten", "view", "reshape"})
_AXES_OF_AN_IMAGE = 2  # batch and channel, before the positions


def carries_channels(
    node: fx.Node, graph_module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]
) -> bool:
    """Whether a factor for each channel of the operands is one for each channel of the result.

    Channels are axis 1. Flattening an image is passed too: each channel becomes a run of features.

    Args:
        node: The operation.
        graph_module: Its graph.
        shapes: Of the results of all nodes that are tensors.
    """
    sources = operands(node)
    if node not in shapes or not sources or any(source not in shapes for source in sources):
        return False
    before, after = [shapes[source] for source in sources], shapes[node]
    if not all(_same_channels(shape, after) for shape in before):
        return False
    kind = kind_of(node, graph_module)
    if kind == "add":
        return set(before) == {after}
    name, axes = _operation(node, graph_module), len(before[0])
    if name == "mean":
        return _averages_positions(node, axes)
    if kind == "average_pool" or name.startswith(("max_pool", "MaxPool")):
        return _is_over_positions(name, axes)
    if node.op == "call_module":
        module = graph_module.get_submodule(str(node.target))
        return _module_carries(module, kind, before[0], after)
    return _function_carries(node, before[0], after)


def clips_at_six(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """Whether the node is a ReLU6."""
    if node.op == "call_module":
        return type(graph_module.get_submodule(str(node.target))) is nn.ReLU6
    return _name(node) == "relu6"


def _module_carries(module: nn.Module, kind: str, before: torch.Size, after: torch.Size) -> bool:
    if isinstance(module, nn.Flatten):
        return _keeps_order(before, after)
    name = type(module).__name__
    if name.startswith(_PADS):
        return _is_over_positions(name, len(before))
    drops = kind == "same_values" and not isinstance(module, nn.Unflatten | nn.AlphaDropout)
    return drops or type(module) in (*_HOMOGENEOUS_MODULES, *_IDENTITIES)


def _function_carries(node: fx.Node, before: torch.Size, after: torch.Size) -> bool:
    name = _name(node)
    if name in _RESHAPES:
        return _keeps_order(before, after)
    if name == "pad":
        return _pads_positions(node, before)
    return name in _HOMOGENEOUS_FUNCTIONS | _DROPOUTS


def _same_channels(before: torch.Size, after: torch.Size) -> bool:
    if min(len(before), len(after)) < _AXES_OF_AN_IMAGE or before[0] != after[0]:
        return False
    return _is_flattened(before, after) or before[1] == after[1]


def _is_flattened(before: torch.Size, after: torch.Size) -> bool:
    return len(after) == _AXES_OF_AN_IMAGE and after[1] == math.prod(before[1:])


def _keeps_order(before: torch.Size, after: torch.Size) -> bool:
    """Whether the values of a channel are still one channel, or one run of features."""
    return _is_flattened(before, after) or (before[1] == after[1] and len(before) == len(after))


def _is_over_positions(name: str, axes: int) -> bool:
    """Whether the axes of ``AvgPool2d`` and the like come after the channels.

    They do not where it is given a single sample, or features without positions.
    """
    return name[-2:-1].isdigit() and axes == _AXES_OF_AN_IMAGE + int(name[-2:-1])


def _averages_positions(node: fx.Node, axes: int) -> bool:
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    averaged = given if isinstance(given, list | tuple) else [given]
    return all(isinstance(axis, int) and axis % axes >= _AXES_OF_AN_IMAGE for axis in averaged)


def _pads_positions(node: fx.Node, before: torch.Size) -> bool:
    """A border around the positions, of zeros or of values that are there."""
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
    widths = node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
    if mode == "constant" and value not in {None, 0}:
        return False
    positions = len(before) - _AXES_OF_AN_IMAGE
    return isinstance(widths, list | tuple) and len(widths) <= 2 * positions


def _operation(node: fx.Node, graph_module: fx.GraphModule) -> str:
    if node.op == "call_module":
        return type(graph_module.get_submodule(str(node.target))).__name__
    return _name(node)


def _name(node: fx.Node) -> str:
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", "")
