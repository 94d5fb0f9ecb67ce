"""The noise that integers put into what reads a group of channels, expected and measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx
from typing_extensions import override

from torchedge.quantization.batches import Inputs
from torchedge.quantization.functional import affine_params, fake_quantize, weight_params
from torchedge.quantization.modules import TRANSPOSED, WeightedLayer, apply_layer
from torchedge.quantization.recovery.channel_groups import (
    ChannelGroup,
    divided_inputs,
    input_channels,
    layer_of,
    multiplied_outputs,
    weights_by_input,
)
from torchedge.quantization.recovery.channel_statistics import Channels, Seen, reach_of
from torchedge.quantization.transform import weight_spec
from torchedge.scheme import QuantScheme, QuantSpec

__all__ = ["Trial", "expected_noise", "measured_noise"]

_LEAST_SIGNAL = 1e-20


@torch.no_grad()
def expected_noise(
    graph_module: fx.GraphModule,
    group: ChannelGroup,
    factors: Tensor,
    seen: dict[Channels, Seen],
    scheme: QuantScheme,
) -> float:
    """Noise to signal, times 12, in the outputs of a group's readers once it is scaled.

    ``(Δx² Σ w² + Δw² Σ E[x²] + Σ n_c w²) / Σ w² E[x²]`` for each reader, each summed over outputs;
    Δ is a step of the tensor or of the reader's weight, and ``n_c`` what rounding the writers'
    weights puts into channel ``c``.
    """
    written = sum(
        _written_noise(layer_of(node, graph_module), seen, node, factors, scheme)
        for node in group.writers
    )
    assert isinstance(written, Tensor)
    noise = 0.0
    for node in group.readers:
        tensor = Channels(node=node.all_input_nodes[0], count=group.channels)
        reader = layer_of(node, graph_module)
        weight = weights_by_input(reader, group.channels)
        scaled = weight / factors.view(len(weight), 1, -1, 1)
        power = seen[tensor].mean_square.view(len(weight), 1, -1, 1)
        step = float((reach_of(tensor, seen) * factors).amax()) / _steps(scheme.activation)
        rounded = _rounding_power(scaled, reader, weight_spec(reader, scheme))
        scaled_power = (power * factors.view(len(weight), 1, -1, 1).square()).flatten(1).sum(1)
        total = step**2 * scaled.square().sum()
        total += (rounded * scaled_power[:, None]).sum() * weight.shape[3]
        total += (weight.square() * written.view(len(weight), 1, -1, 1)).sum()
        noise += float(total / (weight.square() * power).sum().clamp(min=_LEAST_SIGNAL))
    return noise


def _steps(grid: QuantSpec) -> int:
    return grid.quant_max if grid.symmetric else grid.quant_max - grid.quant_min


def _rounding_power(by_input: Tensor, layer: WeightedLayer, spec: QuantSpec) -> Tensor:
    """Square of the step of each output channel, of shape ``(groups, outputs of a group)``."""
    if spec.axis is None:
        largest = by_input.abs().amax()
    elif isinstance(layer, TRANSPOSED):  # a channel of every group has one scale
        largest = by_input.abs().amax((0, 2, 3))
    else:
        largest = by_input.abs().amax((2, 3))
    return (largest / spec.quant_max).square().expand(by_input.shape[:2])


def _written_noise(
    writer: WeightedLayer,
    seen: dict[Channels, Seen],
    node: fx.Node,
    factors: Tensor,
    scheme: QuantScheme,
) -> Tensor:
    """What rounding a writer's weight adds to each channel, in units before scaling."""
    inputs = input_channels(writer)
    by_input = weights_by_input(writer, inputs)
    scaled = by_input * factors.view(len(by_input), -1, 1, 1)
    power = seen[Channels(node=node.all_input_nodes[0], count=inputs)].mean_square
    power = power.view(len(by_input), -1).sum(1, keepdim=True) * by_input.shape[3]
    noise = _rounding_power(scaled, writer, weight_spec(writer, scheme)) * power
    return noise.flatten() / factors.square()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Factors to try on a group.

    Args:
        group: The channels.
        factors: One for each.
    """

    group: ChannelGroup
    factors: Tensor


@torch.no_grad()
def measured_noise(
    graph_module: fx.GraphModule,
    trials: Sequence[Trial],
    seen: dict[Channels, Seen],
    batches: tuple[Inputs, ...],
    scheme: QuantScheme,
) -> list[float]:
    """Noise to signal in what reads each trial's group: its layers on their grids, these batches.

    Ranges of tensors are those in ``seen``, so values beyond what was seen there are clipped, as
    they will be in use.
    """
    measuring = _Measuring(graph_module, trials, seen, scheme)
    for batch in batches:
        measuring.run(*batch)
    return [measuring.noise_of(trial) for trial in trials]


@final
class _Measuring(fx.Interpreter):
    """Runs the float graph and, at each layer of a group, its rounded form beside it."""

    def __init__(
        self,
        graph_module: fx.GraphModule,
        trials: Sequence[Trial],
        seen: dict[Channels, Seen],
        scheme: QuantScheme,
    ) -> None:
        super().__init__(graph_module)
        self.extra_traceback = False
        self.graph_module, self.seen, self.scheme = graph_module, seen, scheme
        self.writing: dict[fx.Node, list[Trial]] = {}
        self.reading: dict[fx.Node, list[Trial]] = {}
        for trial in trials:
            for node in trial.group.writers:
                self.writing.setdefault(node, []).append(trial)
            for node in trial.group.readers:
                self.reading.setdefault(node, []).append(trial)
        self.written: dict[tuple[Trial, fx.Node], Tensor] = {}
        self.read: dict[tuple[Trial, fx.Node], Tensor] = {}
        self.signal: dict[fx.Node, Tensor] = {}
        self.samples: dict[fx.Node, int] = {}

    @override
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.writing or n in self.reading:
            layer, x = layer_of(n, self.graph_module), self.env[n.all_input_nodes[0]]
            self.samples[n] = self.samples.get(n, 0) + result[:, :1].numel()
            signal = result.detach().clone()
            if layer.bias is not None:
                signal -= layer.bias.view(-1, *[1] * (result.ndim - 2))
            self.signal[n] = self.signal.get(n, 0) + signal.square().sum()
            for trial in self.writing.get(n, ()):
                found = self._noise_of_writer(layer, x, trial.factors)
                self.written[trial, n] = self.written.get((trial, n), 0) + found
            for trial in self.reading.get(n, ()):
                error = self._as_read(layer, x, trial, n) - signal
                self.read[trial, n] = self.read.get((trial, n), 0) + error.square().sum()
        return result

    def _noise_of_writer(self, layer: WeightedLayer, x: Tensor, factors: Tensor) -> Tensor:
        scaled = multiplied_outputs(layer, factors)
        deviation = self._on_grid(scaled, layer) - scaled
        noise = apply_layer(layer, x, deviation, None).transpose(0, 1).flatten(1)
        return noise.square().sum(1) / factors.square()

    def _as_read(self, layer: WeightedLayer, x: Tensor, trial: Trial, node: fx.Node) -> Tensor:
        factors, grid = trial.factors, self.scheme.activation
        seen = self.seen[Channels(node=node.all_input_nodes[0], count=len(factors))]
        low, high = (seen.low * factors).amin(), (seen.high * factors).amax()
        each = factors.repeat_interleave(x.shape[1] // len(factors))
        scaled = x * each.view(-1, *[1] * (x.ndim - 2))
        rounded = fake_quantize(scaled, *affine_params(low, high, grid), grid)
        return apply_layer(
            layer, rounded, self._on_grid(divided_inputs(layer, factors), layer), None
        )

    def _on_grid(self, weight: Tensor, layer: WeightedLayer) -> Tensor:
        spec = weight_spec(layer, self.scheme)
        return fake_quantize(weight, *weight_params(weight, spec), spec)

    def noise_of(self, trial: Trial) -> float:
        """Noise to signal, summed over the group's readers."""
        each = [self.written[trial, n] / self.samples[n] for n in trial.group.writers]
        written = torch.stack(each).sum(0)
        noise = 0.0
        for node in trial.group.readers:
            weight = weights_by_input(layer_of(node, self.graph_module), trial.group.channels)
            passed = (weight.square() * written.view(len(weight), 1, -1, 1)).sum()
            total = self.read[trial, node] + passed * self.samples[node]
            noise += float(total / self.signal[node].clamp(min=_LEAST_SIGNAL))
        return noise
