"""Factors of channel groups put on the layers of a graph, and taken off again."""

from collections.abc import Mapping
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor, fx, nn

from torchedge.quantization.modules import WeightedLayer
from torchedge.quantization.recovery.channel_groups import (
    ChannelGroup,
    divide_inputs,
    layer_of,
    multiply_outputs,
)
from torchedge.quantization.recovery.channel_statistics import ROOF

__all__ = ["ClippedReLU", "Relu6Mode", "Rescaling"]

Relu6Mode: TypeAlias = Literal["keep", "per_channel", "replace"]


@final
class ClippedReLU(nn.Module):
    """``min(max(x, 0), roof)`` with a roof for each channel.

    Args:
        roofs: Upper bounds, in a shape that broadcasts over the input's.

    Example:
        >>> ClippedReLU(torch.tensor([6.0, 3.0]))(torch.tensor([[7.0, 7.0]]))
        tensor([[6., 3.]])
    """

    roofs: Tensor

    def __init__(self, roofs: Tensor) -> None:
        super().__init__()
        self.register_buffer("roofs", roofs.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Clip each channel."""
        return torch.minimum(torch.relu(x), self.roofs)


@final
class Rescaling:
    """The layers of some groups, scaled from the weights that they had at first.

    Args:
        graph_module: A graph of plain layers.
        groups: Of its channels.
    """

    def __init__(self, graph_module: fx.GraphModule, groups: list[ChannelGroup]) -> None:
        self._graph_module = graph_module
        self._clips: dict[ChannelGroup, list[ClippedReLU]] = {}
        nodes = {node for group in groups for node in (*group.writers, *group.readers)}
        self._first = {
            layer: [p.detach().clone() for p in layer.parameters(recurse=False)]
            for layer in (self._layer(node) for node in nodes)
        }

    def _layer(self, node: fx.Node) -> WeightedLayer:
        return layer_of(node, self._graph_module)

    @torch.no_grad()
    def set(self, factors: Mapping[ChannelGroup, Tensor]) -> None:
        """Scale these groups, and no others."""
        for layer, parameters in self._first.items():
            for parameter, first in zip(layer.parameters(recurse=False), parameters, strict=True):
                parameter.copy_(first)
        for group, clips in self._clips.items():
            each = factors.get(group, torch.ones(group.channels))
            for clip in clips:
                runs = each.repeat_interleave(len(clip.roofs) // group.channels)
                clip.roofs.copy_(ROOF * runs.view_as(clip.roofs))
        for group, each in factors.items():
            self.scale(group, each)

    def scale(self, group: ChannelGroup, factors: Tensor) -> None:
        """Scale one group further; clips stay as they are."""
        for node in group.writers:
            multiply_outputs(self._layer(node), factors)
        for node in group.readers:
            divide_inputs(self._layer(node), factors)

    def exchange_relu6(self, group: ChannelGroup, relu6: Relu6Mode) -> None:
        """Put what scales with the channels in place of a group's ReLU6, whose nodes then go."""
        graph = self._graph_module.graph
        for node, shape in zip(group.relu6, group.relu6_shapes, strict=True):
            path = f"{node.name}_equalized"
            roofs = torch.full((shape[1], *[1] * (len(shape) - 2)), ROOF)
            clip = ClippedReLU(roofs) if relu6 == "per_channel" else nn.ReLU()
            if isinstance(clip, ClippedReLU):
                self._clips.setdefault(group, []).append(clip)
            self._graph_module.add_submodule(path, clip)
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.call_module(path, (node.args[0],)))
            graph.erase_node(node)
        self._graph_module.recompile()
