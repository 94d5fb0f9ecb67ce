"""Where the accuracy goes: every layer and quantiser, alone and after all those before it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor, fx, nn

from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import input_batches
from torchedge.quantization.calibration import Histogram, observe
from torchedge.quantization.diagnostics.grids import clipped, grid_range
from torchedge.quantization.diagnostics.interpreter import (
    Quantized,
    Run,
    prepared_copy,
    quantized_module,
    tensors_in,
)
from torchedge.quantization.diagnostics.sqnr import Power
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.operations import operands

__all__ = ["Analysis", "Order", "TensorAnalysis", "analyse"]

Order = Literal["execution", "worst"]


@final
@dataclass(frozen=True, kw_only=True)
class TensorAnalysis:
    """What quantisation does to the weights of one layer, or to one activation.

    Args:
        name: Path of the layer or quantiser in the model.
        tensor: Node of the graph: the layer's result, or the activation that is quantised.
        kind: Whether range, extremes and channels are those of weights or of an activation.
        bits: Width of the integers; ``None`` where the tensor was left in float.
        accumulated_sqnr_db: Of the result in the quantised network against the float network.
        local_sqnr_db: Of the result for the float network's input: only these weights, or only
            this activation, are on the grid.
        chosen_range: Smallest and largest real value of the grid; over all channels, the widest;
            ``None`` in float.
        observed_range: Smallest and largest value seen, before quantisation.
        clipped_share: Share of the values that the range cuts off, in [0, 1].
        channels: Number of output channels of the layer, or channels of the activation.
        dead_channels: How many of them have only zeros after quantisation.
        histogram: Of the values before quantisation.
    """

    name: str
    tensor: str
    kind: Literal["weights", "activation"]
    bits: int | None
    accumulated_sqnr_db: float
    local_sqnr_db: float
    chosen_range: tuple[float, float] | None
    observed_range: tuple[float, float]
    clipped_share: float
    channels: int
    dead_channels: int
    histogram: Histogram

    @property
    def label(self) -> str:
        """A short name for tables and pictures."""
        return self.name if self.kind == "weights" else f"→ {self.tensor}"


@final
@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Every layer and quantiser of a prepared network, in execution order.

    Args:
        rows: One for each place in the graph; a layer that is called twice has two.
        output_sqnr_db: Of the network's outputs, all together.
        samples: How many were run.
    """

    rows: tuple[TensorAnalysis, ...]
    output_sqnr_db: float
    samples: int

    def ordered(self, order: Order = "execution") -> tuple[TensorAnalysis, ...]:
        """The rows as they run, or the smallest local SQNR first."""
        if order == "execution":
            return self.rows
        return tuple(sorted(self.rows, key=lambda row: row.local_sqnr_db))

    def table(self, order: Order = "execution", *, rows: int | None = None) -> str:
        """A table for the terminal.

        Args:
            order: As the network runs, or the worst first.
            rows: How many to show; all by default.
        """
        from torchedge.quantization.diagnostics.render import table_text

        return table_text(self, self.ordered(order)[:rows])

    def save(self, folder: Path | str) -> tuple[Path, ...]:
        """Write pictures, ``analysis.json`` and ``analysis.md`` into a folder, new or not.

        Returns:
            The files: ``sqnr.png``, ``weights.png``, ``activations.png`` and the two texts.
        """
        from torchedge.quantization.diagnostics.plot import save_pictures
        from torchedge.quantization.diagnostics.render import markdown, plain

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = save_pictures(self, folder)
        texts = {
            "analysis.json": json.dumps(plain(self), indent=2) + "\n",
            "analysis.md": markdown(self),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return (*pictures, *(folder / name for name in texts))


@torch.no_grad()
@kinds_checked()
def analyse(model: nn.Module, batches: object) -> Analysis:
    """Run a prepared network beside its own float form and compare them everywhere.

    A low accumulated SQNR says that the noise is there; a low local one says that it begins there.
    Both networks go through the graph side by side, one batch at a time, and only sums and
    histograms are kept, so memory does not grow with the number of batches.

    Args:
        model: A calibrated or trained model from ``prepare_qat``; it is left as it is.
        batches: Inputs as the network sees them in use.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``.
        CalibrationError: A quantiser has no range, there is no batch, or one does not fit.

    Example:
        >>> from torchedge.quantization import QuantScheme, calibrate, minmax, prepare_qat
        >>> x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> net = prepare_qat(nn.Sequential(nn.Linear(3, 2)), QuantScheme(), (x,))
        >>> analysis = analyse(calibrate(net, [x], minmax), [x])
        >>> [(row.label, row.bits, row.local_sqnr_db > 30) for row in analysis.rows]
        [('→ input_1', 8, True), ('0', 8, True), ('→ _0', 8, True)]
    """
    copied = prepared_copy(model)
    tallies = {
        node: _Tally(node, copied, module)
        for node in copied.graph.nodes
        if (module := quantized_module(node, copied)) is not None
    }
    output, samples = Power(), 0
    for number, batch in enumerate(input_batches(copied, batches)):
        output = _both_networks(copied, Run(copied, batch, number), tallies, output)
        samples += len(batch[0])
    return Analysis(
        rows=tuple(tally.row() for tally in tallies.values()),
        output_sqnr_db=output.sqnr_db,
        samples=samples,
    )


def _both_networks(
    model: fx.GraphModule, in_float: Run, tallies: dict[fx.Node, "_Tally"], output: Power
) -> Power:
    """Run one batch through both forms, and return the power of the output with it."""
    quantized = Run(model, in_float.batch, in_float.number)
    for node in model.graph.nodes:
        if node in tallies:
            tallies[node].add(in_float, quantized)
            continue
        reference, found = in_float.step(node), quantized.step(node)
        if node.op == "output":
            for pair in zip(tensors_in(reference), tensors_in(found), strict=True):
                output = output.plus(*pair)
    return output


@final
class _Tally:
    """Running sums at one node."""

    def __init__(self, node: fx.Node, model: fx.GraphModule, module: Quantized) -> None:
        self.node, self.module = node, module
        self.on = module.enabled
        self.accumulated, self.local = Power(), Power()
        self.histogram: Histogram | None = None
        self.clipped = self.values = 0
        self.alive: Tensor | None = None
        self.axis = _channel_axis(node, model)
        if isinstance(module, QuantizedLayer):
            weight, _ = module.folded()
            self._count(weight, _outputs_first(module.on_grid(weight), module))

    def add(self, in_float: Run, quantized: Run) -> None:
        """Run the node in both networks, and alone on the float network's input."""
        x = in_float.input_of(self.node)
        self.module.enabled = False
        reference = in_float.step(self.node)
        self.module.enabled = self.on
        on_grid = self.module(x)
        self.local = self.local.plus(reference, on_grid)
        self.accumulated = self.accumulated.plus(reference, quantized.step(self.node))
        if isinstance(self.module, FakeQuantize):
            self._count(x, on_grid.movedim(self.axis if x.ndim > 1 else 0, 0))

    def _count(self, values: Tensor, by_channel: Tensor) -> None:
        self.histogram = observe(self.histogram, values)
        if self.on:
            self.clipped += clipped(values, *self._params(), self.module.spec)
        self.values += values.numel()
        alive = (by_channel != 0).flatten(1).any(1) if by_channel.ndim > 1 else by_channel != 0
        self.alive = alive if self.alive is None else self.alive | alive

    def _params(self) -> tuple[Tensor, Tensor]:
        if isinstance(self.module, FakeQuantize):
            return self.module.params()
        return self.module.params(self.module.folded()[0])

    def _chosen_range(self) -> tuple[float, float]:
        low, high = grid_range(*self._params(), self.module.spec)
        return float(low.min()), float(high.max())

    def row(self) -> TensorAnalysis:
        """The sums as findings."""
        assert self.histogram is not None
        assert self.alive is not None
        layer = isinstance(self.module, QuantizedLayer)
        return TensorAnalysis(
            name=str(self.node.target),
            tensor=self.node.name if layer else operands(self.node)[0].name,
            kind="weights" if layer else "activation",
            bits=self.module.spec.bits if self.on else None,
            accumulated_sqnr_db=self.accumulated.sqnr_db,
            local_sqnr_db=self.local.sqnr_db,
            chosen_range=self._chosen_range() if self.on else None,
            observed_range=(self.histogram.low, self.histogram.high),
            clipped_share=self.clipped / self.values,
            channels=len(self.alive),
            dead_channels=int((~self.alive).sum()),
            histogram=self.histogram,
        )


def _outputs_first(weight: Tensor, layer: QuantizedLayer) -> Tensor:
    """Output channels on axis 0; a transposed convolution has them on axis 1, group after group."""
    if not layer.groups:
        return weight
    by_group: Tensor = weight.unflatten(0, (layer.groups, -1))
    return by_group.movedim(2, 1).flatten(0, 1)


def _channel_axis(node: fx.Node, model: fx.GraphModule) -> int:
    """The last axis beside linear layers, which take sequences; else the one after the batch."""
    beside = [*node.all_input_nodes, *node.users]
    modules = [quantized_module(neighbour, model) for neighbour in beside]
    layers = [module.layer for module in modules if isinstance(module, QuantizedLayer)]
    return -1 if any(isinstance(layer, nn.Linear) for layer in layers) else 1
