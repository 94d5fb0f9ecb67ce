"""Channels of a float network brought to like ranges, before it is quantised."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.quantization.modules import WeightedLayer
from torchedge.quantization.operations import kind_of
from torchedge.quantization.recovery.channel_groups import (
    ChannelGroup,
    channel_groups,
    divide_inputs,
    float_graph,
    layer_of,
    multiply_outputs,
    weights_by_input,
)
from torchedge.quantization.recovery.lockstep import tensors_of
from torchedge.scheme import QuantScheme

__all__ = ["ClippedReLU", "Relu6Mode", "equalize"]

Relu6Mode: TypeAlias = Literal["keep", "per_channel", "replace"]

_ROUNDS = 40
_CONVERGED = 1e-3
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_ROOF = 6.0


@final
class ClippedReLU(nn.Module):
    """``min(max(x, 0), roof)`` with a roof for each channel.

    Args:
        roofs: Upper bounds, of shape ``(channels,)``.

    Example:
        >>> ClippedReLU(torch.tensor([6.0, 3.0]))(torch.tensor([[7.0, 7.0]]))
        tensor([[6., 3.]])
    """

    roofs: Tensor

    def __init__(self, roofs: Tensor) -> None:
        super().__init__()
        self.register_buffer("roofs", roofs.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Clip each channel, the channels on axis 1."""
        return torch.minimum(torch.relu(x), self.roofs.view(-1, *[1] * (x.ndim - 2)))


@final
@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What batches showed of a tensor: for each channel the largest magnitude and mean square."""

    largest: Tensor
    mean_square: Tensor


def equalize(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    batches: Iterable[Tensor] | None = None,
    scheme: QuantScheme | None = None,
    relu6: Relu6Mode = "keep",
) -> nn.Module:
    """A copy of a float model, batch norms merged, whose channels have like ranges.

    A factor for each channel passes through ReLU, pooling, additions and flattening, so layers that
    write a tensor are multiplied by it and layers that read it are divided by it; the function
    stays the same. Additions are passed too: a residual stream gets one set of factors.

    Without data the factors make the weight ranges before and behind equal,
    ``f = √(range of reader / range of writer)``, repeated until nothing moves (Nagel et al. 2019,
    section 4.1). With data they are ``(largest / largest of the channel)^α · (weight range)^β``
    with the exponents of the least expected noise: rounding of the tensor on its one grid plus
    rounding of the readers' weights on theirs.

    Args:
        model: A float network that torch.fx can follow.
        example_inputs: One valid set of inputs.
        batches: Inputs as the network sees them in use.
        scheme: Grids that the noise is estimated for; by default those of ``QuantScheme()``. It
            matters with data only.
        relu6: What becomes of a ReLU6 between scaled channels. ``keep``: it stays, and a channel is
            scaled up at most until the largest value in ``batches`` meets the 6 (the function is
            the same for values up to those; without data, such channels stay as they are).
            ``per_channel``: an exact clip for each channel, which integer runtimes compute in
            float. ``replace``: a ReLU, which lets values above 6 pass.

    Raises:
        TraceError: torch.fx cannot follow the model.
        CalibrationError: ``batches`` is empty.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> x = torch.rand(8, 4)
        >>> torch.allclose(equalize(net, (x,))(x), net(x), atol=1e-6)
        True
    """
    graph_module = float_graph(model, example_inputs)
    groups = channel_groups(graph_module, example_inputs)
    if batches is None:
        _equalize_weights(graph_module, groups, relu6)
    else:
        seen = _observe(graph_module, groups, batches)
        for group in groups:
            factors = _quietest_factors(graph_module, group, seen, scheme or QuantScheme(), relu6)
            _apply(graph_module, group, factors)
            _exchange_relu6(graph_module, group, factors, relu6)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    return graph_module.train(model.training)


def _equalize_weights(
    graph_module: fx.GraphModule, groups: list[ChannelGroup], relu6: Relu6Mode
) -> None:
    usable = [group for group in groups if relu6 != "keep" or not group.relu6]
    total = {group: torch.ones(group.channels) for group in usable}
    for _ in range(_ROUNDS):
        moved = 0.0
        for group in usable:
            factors = _weight_factors(graph_module, group)
            _apply(graph_module, group, factors)
            total[group] *= factors
            moved = max(moved, float(factors.log().abs().amax()))
        if moved < _CONVERGED:
            break
    for group, factors in total.items():
        _exchange_relu6(graph_module, group, factors, relu6)


def _weight_factors(graph_module: fx.GraphModule, group: ChannelGroup) -> Tensor:
    writers = [_output_range(layer_of(n, graph_module)) for n in group.writers]
    before = torch.stack(writers).amax(0)
    behind = _reader_range(graph_module, group)
    usable = (before > 0) & (behind > 0)
    return torch.where(usable, torch.sqrt(behind / before), torch.ones_like(before))


def _output_range(layer: WeightedLayer) -> Tensor:
    """Largest magnitude among the weights of each output channel."""
    by_input = weights_by_input(layer, _inputs(layer))
    return by_input.detach().abs().amax((2, 3)).flatten()


def _inputs(layer: WeightedLayer) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _reader_range(graph_module: fx.GraphModule, group: ChannelGroup) -> Tensor:
    """Largest magnitude among the weights of each input channel, over all readers."""
    ranges = [
        weights_by_input(layer_of(n, graph_module), group.channels).abs().amax((1, 3)).flatten()
        for n in group.readers
    ]
    return torch.stack(ranges).amax(0).detach()


def _apply(graph_module: fx.GraphModule, group: ChannelGroup, factors: Tensor) -> None:
    for node in group.writers:
        multiply_outputs(layer_of(node, graph_module), factors)
    for node in dict.fromkeys(group.readers):
        divide_inputs(layer_of(node, graph_module), factors)


def _exchange_relu6(
    graph_module: fx.GraphModule, group: ChannelGroup, factors: Tensor, relu6: Relu6Mode
) -> None:
    if relu6 == "keep":
        return
    for node in group.relu6:
        path = f"{node.name}_equalized"
        clip = ClippedReLU(_ROOF * factors) if relu6 == "per_channel" else nn.ReLU()
        graph_module.add_submodule(path, clip)
        with graph_module.graph.inserting_before(node):
            node.replace_all_uses_with(graph_module.graph.call_module(path, (node.args[0],)))
        graph_module.graph.erase_node(node)


def _quietest_factors(
    graph_module: fx.GraphModule,
    group: ChannelGroup,
    seen: dict[fx.Node, _Seen],
    scheme: QuantScheme,
    relu6: Relu6Mode,
) -> Tensor:
    largest = _relative([seen[n].largest for n in group.tensors if n in seen])
    behind = _relative([_reader_range(graph_module, group)])
    roof = torch.full_like(largest, torch.inf)
    if relu6 == "keep" and group.relu6:
        roof = torch.stack([_ROOF / seen[n].largest.clamp(min=1e-3) for n in group.relu6]).amin(0)
    best, least = torch.ones_like(largest), torch.inf
    for alpha in _EXPONENTS:
        for beta in _EXPONENTS:
            factors = largest**-alpha * behind**beta
            factors = factors.clamp(min=1.0).minimum(roof) if group.relu6 else factors
            noise = sum(
                _expected_noise(
                    layer_of(n, graph_module), seen[n.all_input_nodes[0]], factors, scheme
                )
                for n in group.readers
            )
            if noise < least:
                best, least = factors, noise
    return best


def _relative(ranges: list[Tensor]) -> Tensor:
    """Each channel's range in units of the widest channel's, kept off zero."""
    return torch.stack([r / r.amax().clamp(min=1e-12) for r in ranges]).amax(0).clamp(min=1e-3)


@torch.no_grad()
def _expected_noise(
    reader: WeightedLayer, tensor: _Seen, factors: Tensor, scheme: QuantScheme
) -> float:
    """Noise to signal, times 12, that rounding its input and weight puts into a layer's output.

    ``(Δx² Σ w² + Δw² Σ E[x²]) / Σ w² E[x²]``, each summed over outputs; Δ is a step.
    """
    weight = weights_by_input(reader, len(factors))
    scaled = weight / factors.view(len(weight), 1, -1, 1)
    power = (tensor.mean_square * factors**2).view(len(weight), -1).sum(1, keepdim=True)
    grid = scheme.activation
    step = float((tensor.largest * factors).amax()) / (
        grid.quant_max if grid.symmetric else grid.quant_max - grid.quant_min
    )
    spec = (scheme.linear_weight if isinstance(reader, nn.Linear) else None) or scheme.weight
    largest = scaled.abs().amax() if spec.axis is None else scaled.abs().amax((2, 3))
    weight_noise = (largest / spec.quant_max).square().expand(weight.shape[:2]) * power
    signal = weight.square() * tensor.mean_square.view(len(weight), 1, -1, 1)
    noise = step**2 * scaled.square().sum() + weight_noise.sum() * weight.shape[3]
    return float(noise / signal.sum().clamp(min=1e-20))


@torch.no_grad()
def _observe(
    graph_module: fx.GraphModule, groups: list[ChannelGroup], batches: Iterable[Tensor]
) -> dict[fx.Node, _Seen]:
    channels = {
        n: group.channels for group in groups for n in group.tensors if _is_stored(n, graph_module)
    }
    kept = tensors_of(batches)
    watching = [_Watching(graph_module, channels) for _ in kept]
    for interpreter, batch in zip(watching, kept, strict=True):
        interpreter.run(batch)
    return {node: _joined([run.seen[node] for run in watching]) for node in watching[0].seen}


def _joined(parts: list[_Seen]) -> _Seen:
    return _Seen(
        largest=torch.stack([part.largest for part in parts]).amax(0),
        mean_square=torch.stack([part.mean_square for part in parts]).mean(0),
    )


def _is_stored(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """Whether a runtime keeps the tensor: not where an activation is fused behind it."""
    return any(kind_of(user, graph_module) != "activation" for user in node.users)


@final
class _Watching(fx.Interpreter):
    """Runs a graph and notes the channels of some of its tensors."""

    def __init__(self, graph_module: fx.GraphModule, channels: dict[fx.Node, int]) -> None:
        super().__init__(graph_module)
        self.channels = channels
        self.seen: dict[fx.Node, _Seen] = {}

    @override
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.channels:
            values = result.reshape(len(result), self.channels[n], -1)
            self.seen[n] = _Seen(
                largest=values.abs().amax((0, 2)), mean_square=values.square().mean((0, 2))
            )
        return result
