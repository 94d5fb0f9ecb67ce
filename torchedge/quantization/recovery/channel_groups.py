"""Tensors of a graph whose channels can be rescaled together without changing the function."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.functional import scale_channels
from torchedge.quantization.modules import TRANSPOSED, QuantizedLayer, WeightedLayer
from torchedge.quantization.operations import kind_of, operands
from torchedge.quantization.recovery.carriers import carries_channels, clips_at_six
from torchedge.quantization.transform import prepare_qat
from torchedge.scheme import Placement, QuantScheme

__all__ = [
    "ChannelGroup",
    "channel_groups",
    "divide_inputs",
    "divided_inputs",
    "float_graph",
    "input_channels",
    "layer_of",
    "multiplied_outputs",
    "multiply_outputs",
    "weights_by_input",
]


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
        relu6_shapes: Their shapes, in the example.
    """

    channels: int
    writers: tuple[fx.Node, ...]
    readers: tuple[fx.Node, ...]
    tensors: tuple[fx.Node, ...]
    relu6: tuple[fx.Node, ...]
    relu6_shapes: tuple[torch.Size, ...]


def float_graph(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """A float model as a graph of plain layers, each with a bias and its batch norm merged in."""
    nowhere = QuantScheme(placement=Placement())
    merged = fold_batchnorms(prepare_qat(model, nowhere, example_inputs).eval())
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
    """All groups of at least one writer and one reader, in execution order.

    A layer that both reads and writes a group, as the branch of a residual does, is among its
    writers and among its readers.
    """
    shapes = _shapes(graph_module, example_inputs)
    layers = _scalable_layers(graph_module, shapes)
    parent: dict[fx.Node, fx.Node] = {node: node for node in graph_module.graph.nodes}

    def root(node: fx.Node) -> fx.Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    closed: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        if node in layers or kind_of(node, graph_module) == "shape":
            continue
        if carries_channels(node, graph_module, shapes):
            for operand in operands(node):
                parent[root(operand)] = root(node)
        else:
            closed |= {node, *node.all_input_nodes}
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in graph_module.graph.nodes:
        members.setdefault(root(node), []).append(node)
    open_members = [nodes for nodes in members.values() if not closed & set(nodes)]
    groups = [_group(nodes, graph_module, shapes, layers) for nodes in open_members]
    return [group for group in groups if group is not None]


def _group(
    nodes: list[fx.Node],
    graph_module: fx.GraphModule,
    shapes: dict[fx.Node, torch.Size],
    layers: frozenset[fx.Node],
) -> ChannelGroup | None:
    writers = tuple(node for node in nodes if node in layers)
    tensors = tuple(node for node in nodes if node in shapes)
    readers = tuple(
        dict.fromkeys(user for node in tensors for user in node.users if user in layers)
    )
    channels = {shapes[node][1] for node in writers}
    if not readers or len(channels) != 1:  # or a flattened image meets a tensor that never was one
        return None
    relu6 = tuple(node for node in nodes if clips_at_six(node, graph_module))
    return ChannelGroup(
        channels=channels.pop(),
        writers=writers,
        readers=readers,
        tensors=tensors,
        relu6=relu6,
        relu6_shapes=tuple(shapes[node] for node in relu6),
    )


def _scalable_layers(
    graph_module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]
) -> frozenset[fx.Node]:
    """Layers whose channels are axis 1, called once and whose parameters nothing else reads.

    Not a linear layer over the positions of a sequence, nor a convolution of a single sample.
    """
    calls = Counter(n.target for n in graph_module.graph.nodes if n.op == "call_module")
    read = tuple(str(n.target) for n in graph_module.graph.nodes if n.op == "get_attr")
    return frozenset(
        node
        for node in graph_module.graph.nodes
        if kind_of(node, graph_module) in {"conv", "linear"}
        and calls[node.target] == 1
        and not any(path.startswith(f"{node.target}.") for path in read)
        and _channels_are_axis_one(node, graph_module, shapes)
    )


def _channels_are_axis_one(
    node: fx.Node, graph_module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]
) -> bool:
    weight = layer_of(node, graph_module).weight
    return len(shapes[node]) == weight.ndim == len(shapes[node.all_input_nodes[0]])


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


def input_channels(layer: WeightedLayer) -> int:
    """How many channels, or features, a layer reads."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def multiplied_outputs(layer: WeightedLayer, factors: Tensor) -> Tensor:
    """The weight with each output channel scaled."""
    groups = layer.groups if isinstance(layer, TRANSPOSED) else 0
    return scale_channels(layer.weight, factors, groups)


def divided_inputs(layer: WeightedLayer, factors: Tensor) -> Tensor:
    """The weight with each input channel scaled by the inverse of a factor."""
    weight = layer.weight
    if isinstance(layer, nn.Linear):
        return (weight.view(len(weight), len(factors), -1) / factors[:, None]).view_as(weight)
    spatial = [1] * (weight.ndim - 2)
    if isinstance(layer, TRANSPOSED):
        return weight / factors.view(-1, 1, *spatial)
    by_group = factors.view(layer.groups, 1, -1, *spatial)
    grouped: Tensor = weight.unflatten(0, (layer.groups, -1)) / by_group
    return grouped.flatten(0, 1)


@torch.no_grad()
def multiply_outputs(layer: WeightedLayer, factors: Tensor) -> None:
    """Scale, in place, each output channel of a layer."""
    layer.weight.copy_(multiplied_outputs(layer, factors))
    if layer.bias is not None:
        layer.bias.mul_(factors)


@torch.no_grad()
def divide_inputs(layer: WeightedLayer, factors: Tensor) -> None:
    """Scale, in place, each input channel of a layer by the inverse of a factor."""
    layer.weight.copy_(divided_inputs(layer, factors))
