"""How long layers take with fewer channels, measured in the runtime that the network is for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from torchedge.pruning.cost import Costs, Kept
from torchedge.pruning.dependency import Dependencies
from torchedge.pruning.ranking import Block

__all__ = ["Latencies", "LayerShape", "LayerTimer"]

_MEASURED = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


@final
@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """A convolution or linear layer as a runtime sees it.

    Args:
        inputs: Channels that it reads.
        outputs: Channels that it makes.
        groups: Equal to ``inputs`` for a depthwise convolution.
        kernel: Empty for a linear layer.
        stride: One for each axis of the kernel, as the next two.
        padding: At both ends.
        dilation: Between the places of the kernel.
        size: Height and width of what it reads.
        batch: Samples, or rows of a linear layer.
    """

    inputs: int
    outputs: int
    groups: int = 1
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    size: tuple[int, ...] = ()
    batch: int = 1


class LayerTimer(Protocol):
    """Measures layers in a runtime."""

    def __call__(self, shapes: Sequence[LayerShape]) -> Sequence[float]:
        """Milliseconds of one call of each layer."""
        ...


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """A layer, where its channels are in a choice, and its times on a grid of widths."""

    shape: LayerShape
    reads: npt.NDArray[np.int64]
    writes: npt.NDArray[np.int64]
    input_widths: npt.NDArray[np.float64]
    output_widths: npt.NDArray[np.float64]
    times_ms: npt.NDArray[np.float64]

    def milliseconds(self, kept: Kept) -> float:
        inputs = float(np.count_nonzero(kept[self.reads]))
        outputs = float(np.count_nonzero(kept[self.writes]))
        rows = [float(np.interp(outputs, self.output_widths, row)) for row in self.times_ms]
        return float(np.interp(inputs, self.input_widths, rows))


@final
class Latencies:
    """Time of all convolutions and linear layers for any choice of channels.

    Each layer is measured at a few widths that are multiples; between them the time is taken to
    rise evenly. What lies between layers, such as activations that a runtime does not fuse, is not
    in the sum.

    Args:
        found: From :func:`~torchedge.pruning.dependency.dependencies`.
        costs: Numbers the channels.
        model: Holds the layers.
        timer: Measures them.
        multiple: Of the widths that are measured.
    """

    def __init__(
        self,
        found: Dependencies,
        costs: Costs,
        model: nn.Module,
        timer: LayerTimer,
        multiple: int,
    ) -> None:
        drafts = _drafts(found, costs, model)
        rows = [row for shape, _, _ in drafts for row in _grid(shape, multiple)[2]]
        wanted = list(dict.fromkeys(shape for row in rows for shape in row))
        times = dict(zip(wanted, timer(wanted), strict=True))
        self.layers = [_measured(*draft, multiple, times) for draft in drafts]
        self._by_place: dict[int, list[int]] = {}
        for index, layer in enumerate(self.layers):
            for place in {*layer.reads.tolist(), *layer.writes.tolist()}:
                self._by_place.setdefault(place, []).append(index)

    def milliseconds(self, kept: Kept) -> float:
        """Sum over the layers."""
        return sum(layer.milliseconds(kept) for layer in self.layers)

    def saved(self, kept: Kept, block: Block, costs: Costs) -> float:
        """How much faster the network is when a block goes as well."""
        begin = costs.units(block.group).start
        places = [begin + channel for channel in block.channels]
        after = kept.copy()
        after[places] = False
        touched = {index for place in places for index in self._by_place.get(place, ())}
        layers = [self.layers[index] for index in touched]
        return sum(layer.milliseconds(kept) - layer.milliseconds(after) for layer in layers)


_Draft = tuple[LayerShape, npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _drafts(found: Dependencies, costs: Costs, model: nn.Module) -> list[_Draft]:
    drafts: list[_Draft] = []
    for node, seen in found.results.items():
        if node.op != "call_module" or seen.operand is None:
            continue
        layer = model.get_submodule(str(node.target))
        shape = _shape(layer, seen.operand.shape)
        if shape is None:
            continue
        axis = -1 if isinstance(layer, nn.Linear) else 1
        reads = _places(costs, seen.operand.along(axis), shape.inputs)
        writes = _places(costs, seen.results[0].along(axis), shape.outputs)
        drafts.append((shape, reads, writes))
    return drafts


def _places(costs: Costs, labels: Tensor | None, count: int) -> npt.NDArray[np.int64]:
    if labels is None or labels.numel() != count:
        return np.full(count, len(costs.everything) - 1)
    return costs.places(labels)


def _shape(layer: nn.Module, size: tuple[int, ...]) -> LayerShape | None:
    if isinstance(layer, nn.Linear):
        rows = int(np.prod(size[:-1]))
        return LayerShape(inputs=layer.in_features, outputs=layer.out_features, batch=rows)
    if not isinstance(layer, nn.Conv1d | nn.Conv2d) or isinstance(layer.padding, str):
        return None
    return LayerShape(
        inputs=layer.in_channels,
        outputs=layer.out_channels,
        groups=layer.groups,
        kernel=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        size=size[2:],
        batch=size[0],
    )


def _grid(shape: LayerShape, multiple: int) -> tuple[list[int], list[int], list[list[LayerShape]]]:
    """Widths that are measured: inputs, outputs, and the layer at each pair."""
    if shape.groups > 1:
        return _grouped_grid(shape, multiple)
    inputs, outputs = _widths(shape.inputs, multiple), _widths(shape.outputs, multiple)
    rows = [[replace(shape, inputs=i, outputs=o) for o in outputs] for i in inputs]
    return inputs, outputs, rows


def _grouped_grid(
    shape: LayerShape, multiple: int
) -> tuple[list[int], list[int], list[list[LayerShape]]]:
    """A depthwise convolution loses inputs and outputs together; others keep their groups."""
    if shape.groups != shape.inputs:
        inputs, outputs = [shape.inputs], [shape.outputs]
        return inputs, outputs, [[shape]]
    each = shape.outputs // shape.inputs
    widths = _widths(shape.inputs, multiple)
    row = [replace(shape, inputs=w, outputs=w * each, groups=w) for w in widths]
    return [shape.inputs], [w * each for w in widths], [row]


def _widths(channels: int, multiple: int) -> list[int]:
    rounded = {
        min(channels, max(multiple, round(channels * s / multiple) * multiple)) for s in _MEASURED
    }
    return sorted(rounded | {channels})


def _measured(
    shape: LayerShape,
    reads: npt.NDArray[np.int64],
    writes: npt.NDArray[np.int64],
    multiple: int,
    times: dict[LayerShape, float],
) -> _Layer:
    inputs, outputs, rows = _grid(shape, multiple)
    return _Layer(
        shape=shape,
        reads=reads,
        writes=writes,
        input_widths=np.array(inputs, dtype=float),
        output_widths=np.array(outputs, dtype=float),
        times_ms=np.array([[times[s] for s in row] for row in rows]),
    )
