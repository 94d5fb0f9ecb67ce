"""Which layers must not lose bits: one layer on integers, everything else in float."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, final

import torch
from torch import Tensor, fx, nn

from torchedge.arguments import is_number, require
from torchedge.errors import SchemeError
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import calibration_batches
from torchedge.quantization.bit_widths import FLOAT_BITS, set_weight_bits
from torchedge.quantization.diagnostics.interpreter import (
    Run,
    prepared_copy,
    quantized_module,
    switch,
    tensors_in,
)
from torchedge.quantization.diagnostics.sqnr import Power
from torchedge.quantization.layers import TRANSPOSED
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.scale_source import input_scale_source

__all__ = ["LayerSensitivity", "Loss", "sensitivity"]

Loss: TypeAlias = Callable[[Any, Any], Tensor | float]


@final
@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """What the network loses when one layer computes with integers.

    Args:
        layer: Path of the layer.
        bits: Width of its weights; 32 is float.
        error: What the loss grows by; with the metric ``sqnr``, noise power of the network's
            output by the power of its signal.
        sqnr_db: Of the network's output.
        weights: Number of weights of the layer.
        macs: Multiply-accumulates of all its calls, for one sample.
        input_bits: Width of the activation that it reads.
    """

    layer: str
    bits: int
    error: float
    sqnr_db: float
    weights: int
    macs: int
    input_bits: int


@torch.no_grad()
@kinds_checked()
def sensitivity(
    model: nn.Module,
    batches: object,
    *,
    metric: Literal["sqnr"] | Loss = "sqnr",
    bits: Sequence[int] = (8, 4),
) -> tuple[LayerSensitivity, ...]:
    """Quantise one layer at a time, its weights and the activation it reads, and see what is lost.

    Each trial goes on from where its layer stands in one float pass over the batch, so that it
    costs the rest of the network and not all of it; memory is that of one batch.

    Args:
        model: A calibrated or trained model from ``prepare_qat``; it is left as it is.
        batches: Inputs, or pairs of inputs and labels; a few dozen samples are enough to rank
            layers.
        metric: ``sqnr``, which needs no labels, or a function of outputs and labels that returns
            the mean loss of a batch; smaller is better.
        bits: Widths of the weights to try, 2 to 8; 32 adds a row without error.

    Returns:
        A row for each layer and width, in execution order.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``, or no integers have that width.
        CalibrationError: A quantiser has no range, there is no batch, or one does not fit.

    Example:
        >>> from torchedge.quantization import QuantScheme, calibrate, minmax, prepare_qat
        >>> x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> model = calibrate(prepare_qat(net, QuantScheme(), (x,)), [x], minmax)
        >>> [(row.layer, row.bits, row.macs) for row in sensitivity(model, [x], bits=(8, 4))]
        [('0', 8, 24), ('0', 4, 24), ('2', 8, 16), ('2', 4, 16)]
    """
    way_out = "give widths in a tuple, (8, 4)"
    require(isinstance(bits, Sequence), "bits", bits, way_out, SchemeError)
    way_out = "give 'sqnr', or a function of outputs and labels"
    require(metric == "sqnr" or callable(metric), "the metric", metric, way_out)
    copied = prepared_copy(model)
    layers = _layers(copied, bits)
    switch(copied, enabled=False)
    tally = _Tally(loss=None if metric == "sqnr" else metric)
    for number, batch in enumerate(calibration_batches(copied, batches)):
        _try_all(Run(copied, batch.inputs, number), layers, tally, batch.target)
    return tuple(tally.row(layer, width) for layer in layers.values() for width in bits)


@final
class _Layer:
    """One layer in every width, with the quantisers of the tensors it reads."""

    def __init__(
        self, name: str, layer: QuantizedLayer, calls: list[fx.Node], widths: Sequence[int]
    ) -> None:
        self.name, self.calls, self.layer = name, calls, layer
        self.macs = 0
        self.variants = {w: set_weight_bits(copy.deepcopy(layer), w, name) for w in widths}
        self.inputs: dict[fx.Node, FakeQuantize | None] = {}

    @property
    def input_bits(self) -> int:
        """Of the first call."""
        quantizer = self.inputs[self.calls[0]]
        return FLOAT_BITS if quantizer is None else quantizer.spec.bits

    def result(self, node: fx.Node, run: Run, width: int) -> Tensor:
        """Of a call, with both weights and input on integers."""
        x, quantizer = run.input_of(node), self.inputs[node]
        found: Tensor = self.variants[width](x if quantizer is None else quantizer(x))
        return found


def _layers(model: fx.GraphModule, widths: Sequence[int]) -> dict[str, _Layer]:
    calls: dict[str, list[fx.Node]] = {}
    for node in model.graph.nodes:
        if isinstance(quantized_module(node, model), QuantizedLayer):
            calls.setdefault(str(node.target), []).append(node)
    layers = {}
    for name, nodes in calls.items():
        module = quantized_module(nodes[0], model)
        assert isinstance(module, QuantizedLayer)
        layers[name] = _Layer(name, module, nodes, widths)
        for node in nodes:
            source = copy.deepcopy(input_scale_source(node, model))
            if source is not None:
                source.require_calibrated(f"the input of {name}")
                source.enabled = True
            layers[name].inputs[node] = source
    return layers


def _try_all(baseline: Run, layers: dict[str, _Layer], tally: "_Tally", labels: object) -> None:
    """One float pass over a batch, with every trial branching off where its layer comes first."""
    trials: dict[tuple[str, int], Any] = {}
    nodes = list(baseline.model.graph.nodes)
    for place, node in enumerate(nodes):
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if layer is None:
            result = baseline.step(node)
            continue
        if node is layer.calls[0]:
            for width in (bits for bits in layer.variants if bits != FLOAT_BITS):
                trials[layer.name, width] = _finished(baseline.fork(), nodes[place:], layer, width)
        x = baseline.input_of(node)
        result = baseline.step(node)
        if not tally.samples:
            layer.macs += _macs(layer.layer, x, result)
    tally.add(result, trials, labels, len(baseline.batch[0]))


def _finished(run: Run, nodes: list[fx.Node], layer: _Layer, width: int) -> Any:  # noqa: ANN401
    """The output of the network with one layer on integers, computed from that layer on."""
    for node in nodes:
        if node in layer.inputs:
            result: Any = run.put(node, layer.result(node, run, width))
        else:
            result = run.step(node)
    return result


def _macs(layer: QuantizedLayer, x: Tensor, y: Tensor) -> int:
    """Multiply-accumulates of one sample: each weight once a position."""
    inner = layer.layer
    if isinstance(inner, nn.Linear):
        positions = y[0].numel() // inner.out_features
    elif isinstance(inner, TRANSPOSED):
        positions = x[0].numel() // inner.in_channels
    else:
        positions = y[0].numel() // inner.out_channels
    return positions * inner.weight.numel()


@final
class _Tally:
    """Running sums of all trials."""

    def __init__(self, *, loss: Loss | None) -> None:
        self.loss = loss
        self.samples = 0
        self.power: dict[tuple[str, int], Power] = {}
        self.growth: dict[tuple[str, int], float] = {}

    def add(
        self,
        reference: object,
        trials: dict[tuple[str, int], object],
        labels: object,
        samples: int,
    ) -> None:
        """Compare the outputs of one batch with the float network's."""
        self.samples += samples
        base = 0.0 if self.loss is None else _number(self.loss(reference, labels))
        for trial, found in trials.items():
            power = self.power.get(trial, Power())
            for pair in zip(tensors_in(reference), tensors_in(found), strict=True):
                power = power.plus(*pair)
            self.power[trial] = power
            if self.loss is not None:
                growth = _number(self.loss(found, labels)) - base
                self.growth[trial] = self.growth.get(trial, 0.0) + samples * growth

    def row(self, layer: _Layer, width: int) -> LayerSensitivity:
        """The sums of one trial as a finding."""
        trial = (layer.name, width)
        power = self.power.get(trial, Power())
        growth = self.growth.get(trial, 0.0) / self.samples
        in_float = width == FLOAT_BITS
        return LayerSensitivity(
            layer=layer.name,
            bits=width,
            error=power.relative_noise if self.loss is None else growth,
            sqnr_db=math.inf if in_float else power.sqnr_db,
            weights=layer.layer.layer.weight.numel(),
            macs=layer.macs,
            input_bits=FLOAT_BITS if in_float else layer.input_bits,
        )


def _number(loss: object) -> float:
    """What the user's metric returned."""
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return float(loss)
    require(is_number(loss), "what the metric returned", loss, "return one number, as a loss does")
    return float(cast("float", loss))
