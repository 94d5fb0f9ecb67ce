"""Tensors of a graph whose channels can be rescaled together without changing the function."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.quantization.functional import scale_channels
from torchedge.quantization.merge import merge_batchnorms
from torchedge.quantization.modules import TRANSPOSED, QuantizedLayer, WeightedLayer
from torchedge.quantization.operations import kind_of, operands
from torchedge.quantization.transform import prepare_qat
from torchedge.scheme import Placement, QuantScheme

__all__ = [
    "ChannelGroup",
    "channel_groups",
    "divide_inputs",
    "float_graph",
    "layer_of",
    "multiply_outputs",
    "weights_by_input",
]

_HOMOGENEOUS_MODULES = (nn.ReLU, nn.LeakyReLU, nn.PReLU)
_HOMOGENEOUS_FUNCTIONS = frozenset({"relu", "relu_", "leaky_relu", "leaky_relu_", "prelu"})
_SAME_CHANNELS = frozenset(
    {
        *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "mean"),
        *("flatten", "view", "reshape", "contiguous", "detach", "pad"),
        *("dropout", "dropout2d", "dropout3d"),
    }
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelGroup:
    """Tensors between layers, through which a factor for each channel passes unchanged.

    Args:
        channels: Number of channels.
        writers: Layers whose results they are.
        readers: Layers that read them; nothing else does.
        tensors: Nodes of the graph.
        relu6: Those that clip at 6.
    """

    channels: int
    writers: tuple[fx.Node, ...]
    readers: tuple[fx.Node, ...]
    tensors: tuple[fx.Node, ...]
    relu6: tuple[fx.Node, ...]


def float_graph(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """A float model as a graph of plain layers, each with a bias and its batch norm merged in."""
    nowhere = QuantScheme(placement=Placement())
    merged = merge_batchnorms(prepare_qat(model, nowhere, example_inputs).eval())
    assert isinstance(merged, fx.GraphModule)
    for path, module in list(merged.named_modules()):
        if isinstance(module, QuantizedLayer):
            merged.set_submodule(path, module.layer)
    merged.delete_all_unused_submodules()
    merged.recompile()
    return merged


def channel_groups(
    graph_module: fx.GraphModule, example_inputs: tuple[Tensor, ...]
) -> list[ChannelGroup]:
    """All groups of at least one writer and one reader, in execution order."""
    shapes = _shapes(graph_module, example_inputs)
    parent: dict[fx.Node, fx.Node] = {node: node for node in graph_module.graph.nodes}

    def root(node: fx.Node) -> fx.Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    calls = Counter(n.target for n in graph_module.graph.nodes if n.op == "call_module")
    closed: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        once = calls[node.target] == 1
        if kind_of(node, graph_module) == "shape" or (
            once and _is_layer(node, graph_module, shapes)
        ):
            continue
        if _carries_channels(node, graph_module, shapes):
            for operand in operands(node):
                parent[root(operand)] = root(node)
        else:
            closed |= {node, *node.all_input_nodes}
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in graph_module.graph.nodes:
        members.setdefault(root(node), []).append(node)
    open_members = [nodes for nodes in members.values() if not closed & set(nodes)]
    groups = [_group(nodes, graph_module, shapes) for nodes in open_members]
    return [group for group in groups if group is not None]


def _group(
    nodes: list[fx.Node], graph_module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]
) -> ChannelGroup | None:
    writers = tuple(n for n in nodes if kind_of(n, graph_module) in {"conv", "linear"})
    tensors = tuple(n for n in nodes if n in shapes)
    readers = tuple(
        user
        for node in tensors
        for user in node.users
        if user not in nodes and kind_of(user, graph_module) in {"conv", "linear"}
    )
    if not writers or not readers:
        return None
    relu6 = tuple(n for n in nodes if _is_relu6(n, graph_module))
    channels = shapes[writers[0]][1]
    return ChannelGroup(
        channels=channels, writers=writers, readers=readers, tensors=tensors, relu6=relu6
    )


def _is_layer(
    node: fx.Node, graph_module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]
) -> bool:
    """A layer whose channels are axis 1: not a linear layer over the positions of a sequence."""
    kind = kind_of(node, graph_module)
    return kind == "conv" or (kind == "linear" and len(shapes[node]) == 2)


def _is_relu6(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return type(graph_module.get_submodule(str(node.target))) is nn.ReLU6
    return _name(node) == "relu6"


def _name(node: fx.Node) -> str:
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def _carries_channels(
    node: fx.Node, graph_module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]
) -> bool:
    """Whether a factor for each channel of the operands is one for each channel of the result."""
    sources = operands(node)
    if node not in shapes or not sources or any(source not in shapes for source in sources):
        return False
    if not all(_same_channels(shapes[source], shapes[node]) for source in sources):
        return False
    if kind_of(node, graph_module) == "add":
        return len({shapes[source] for source in sources}) == 1
    if node.op == "call_module":
        module = graph_module.get_submodule(str(node.target))
        passing = kind_of(node, graph_module) in {"same_values", "average_pool"}
        return passing or type(module) in (*_HOMOGENEOUS_MODULES, nn.ReLU6)
    return _name(node) in _HOMOGENEOUS_FUNCTIONS | _SAME_CHANNELS | {"relu6"}


def _same_channels(before: torch.Size, after: torch.Size) -> bool:
    if len(before) < 2 or len(after) < 2:
        return False
    flattened = len(after) == 2 and after[1] == math.prod(before[1:])
    return flattened or (before[1] == after[1] and len(after) in {len(before), 2})


@final
class _Shapes(fx.Interpreter):
    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.shapes: dict[fx.Node, torch.Size] = {}

    @override
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
        return result


@torch.no_grad()
def _shapes(
    graph_module: fx.GraphModule, example_inputs: tuple[Tensor, ...]
) -> dict[fx.Node, torch.Size]:
    shapes = _Shapes(graph_module)
    shapes.run(*example_inputs)
    return shapes.shapes


def layer_of(node: fx.Node, graph_module: nn.Module) -> WeightedLayer:
    """The layer that a node calls."""
    return cast(WeightedLayer, graph_module.get_submodule(str(node.target)))


def weights_by_input(layer: WeightedLayer, channels: int) -> Tensor:
    """The weight as ``(groups, outputs of a group, inputs of a group, taps)``, a view.

    A linear layer behind a flattened image has several inputs for each of the ``channels``.
    """
    weight = layer.weight
    if isinstance(layer, nn.Linear):
        return weight.view(1, len(weight), channels, -1)
    grouped: Tensor = weight.unflatten(0, (layer.groups, -1)).flatten(3)
    return grouped.transpose(1, 2) if isinstance(layer, TRANSPOSED) else grouped


@torch.no_grad()
def multiply_outputs(layer: WeightedLayer, factors: Tensor) -> None:
    """Scale, in place, each output channel of a layer."""
    groups = layer.groups if isinstance(layer, TRANSPOSED) else 0
    layer.weight.copy_(scale_channels(layer.weight, factors, groups))
    if layer.bias is not None:
        layer.bias.mul_(factors)


@torch.no_grad()
def divide_inputs(layer: WeightedLayer, factors: Tensor) -> None:
    """Scale, in place, each input channel of a layer by the inverse of a factor."""
    by_input = weights_by_input(layer, len(factors))
    by_input.div_(factors.view(by_input.shape[0], 1, -1, 1))
