"""How long layers take with fewer channels, measured in the runtime that the network is for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from torchedge.arguments import is_number
from torchedge.errors import PruningError
from torchedge.pruning.activations import operations_of
from torchedge.pruning.cost import Costs, Kept
from torchedge.pruning.dependency import Dependencies
from torchedge.pruning.labels import Labels
from torchedge.pruning.ranking import Block, Limits

__all__ = ["Latencies", "LayerShape", "LayerTimer", "block_places", "require_measured"]

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
        operation: ONNX's name of an activation that is measured in place of a layer, which as many
            channels go through as it has groups. Only a timer with ``times_activations`` is asked.
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
    operation: str = ""


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
        timer: Measures them.
        limits: Tell the multiples of the widths that are measured.
    """

    def __init__(
        self,
        found: Dependencies,
        costs: Costs,
        timer: LayerTimer,
        limits: Limits,
    ) -> None:
        drafts = _drafts(found, costs)
        if getattr(timer, "times_activations", False):
            drafts += _activations(found, costs)
        rows = [
            row
            for shape, reads, _ in drafts
            for row in _grid(shape, limits, _loses_groups(shape, reads))[2]
        ]
        wanted = list(dict.fromkeys(shape for row in rows for shape in row))
        times = dict(zip(wanted, _required(timer(wanted), len(wanted)), strict=True))
        self.layers = [_measured(*draft, limits, times) for draft in drafts]
        self._by_place: dict[int, list[int]] = {}
        for index, layer in enumerate(self.layers):
            for place in {*layer.reads.tolist(), *layer.writes.tolist()}:
                self._by_place.setdefault(place, []).append(index)

    def milliseconds(self, kept: Kept) -> float:
        """Sum over the layers."""
        return sum(layer.milliseconds(kept) for layer in self.layers)

    def saved(self, kept: Kept, block: Block, costs: Costs) -> float:
        """How much faster the network is when a block goes as well."""
        places = block_places(costs, block)
        after = kept.copy()
        after[places] = False
        touched = {index for place in places for index in self._by_place.get(place, ())}
        layers = [self.layers[index] for index in touched]
        return sum(layer.milliseconds(kept) - layer.milliseconds(after) for layer in layers)


def block_places(costs: Costs, block: Block) -> list[int]:
    """Where the channels of a block are in a choice."""
    begin = costs.units(block.group).start
    return [begin + channel for channel in block.channels]


_Draft = tuple[LayerShape, npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _drafts(found: Dependencies, costs: Costs) -> list[_Draft]:
    drafts: list[_Draft] = []
    for _, layer, operand, result in _called(found):
        shape = _shape(layer, operand.shape)
        if shape is None:
            continue
        axis = -1 if isinstance(layer, nn.Linear) else 1
        reads = _places(costs, operand.along(axis), shape.inputs)
        writes = _places(costs, result.along(axis), shape.outputs)
        drafts.append((shape, reads, writes))
    return drafts


def _activations(found: Dependencies, costs: Costs) -> list[_Draft]:
    """Operations between layers, by the size of what they give."""
    operations = [
        (operation, seen.results[0])
        for node, seen in found.results.items()
        for operation in operations_of(node, found.graph)
        if seen.results
    ]
    drafts: list[_Draft] = []
    for operation, result in operations:
        axis = 1 if len(result.shape) > 3 else len(result.shape) - 1
        count = result.shape[axis] if axis >= 0 else 0
        if count:
            places = _places(costs, result.along(axis), count)
            drafts.append((_activation(operation, result.shape, axis), places, places))
    return drafts


def _activation(operation: str, size: tuple[int, ...], axis: int) -> LayerShape:
    rest = tuple(s for other, s in enumerate(size) if other not in {0, axis})
    return LayerShape(
        inputs=size[axis],
        outputs=size[axis],
        groups=size[axis],
        size=rest,
        batch=size[0] if axis else 1,
        operation=operation,
    )


def _called(found: Dependencies) -> Iterator[tuple[str, nn.Module, Labels, Labels]]:
    """Name, layer, and the labels of what it reads and makes, call by call."""
    for node, seen in found.results.items():
        if node.op == "call_module" and seen.operand is not None:
            name = str(node.target)
            yield name, found.graph.get_submodule(name), seen.operand, seen.results[0]


def require_measured(found: Dependencies) -> None:
    """Refuse a network whose time would be a sum without some of its convolutions.

    Raises:
        PruningError: A convolution is of a kind that no timer measures.
    """
    for name, layer, operand, _ in _called(found):
        if isinstance(layer, nn.modules.conv._ConvNd) and _shape(layer, operand.shape) is None:
            raise PruningError(
                f"the time of '{name}' is not measured: a {type(layer).__name__} with "
                f"padding={layer.padding!r}, where only Conv1d and Conv2d with as much at both "
                "ends are; give macs, parameters or memory instead."
            )


def _places(costs: Costs, labels: Tensor | None, count: int) -> npt.NDArray[np.int64]:
    if labels is None or labels.numel() != count:
        return np.full(count, len(costs.everything) - 1)
    return costs.places(labels)


def _shape(layer: nn.Module, size: tuple[int, ...]) -> LayerShape | None:
    if isinstance(layer, nn.Linear):
        rows = int(np.prod(size[:-1]))
        return LayerShape(inputs=layer.in_features, outputs=layer.out_features, batch=rows)
    padding = _padding(layer) if isinstance(layer, nn.Conv1d | nn.Conv2d) else None
    if padding is None:
        return None
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return LayerShape(
        inputs=layer.in_channels,
        outputs=layer.out_channels,
        groups=layer.groups,
        kernel=layer.kernel_size,
        stride=layer.stride,
        padding=padding,
        dilation=layer.dilation,
        size=size[2:],
        batch=size[0],
    )


def _padding(layer: nn.Conv1d | nn.Conv2d) -> tuple[int, ...] | None:
    """What is added at both ends; ``None`` where one end gets more."""
    if not isinstance(layer.padding, str):
        return layer.padding
    if layer.padding == "valid":
        return (0,) * len(layer.kernel_size)
    sums = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    return None if any(both % 2 for both in sums) else tuple(both // 2 for both in sums)


def _grid(
    shape: LayerShape, limits: Limits, whole: bool
) -> tuple[list[int], list[int], list[list[LayerShape]]]:
    """Widths that are measured: inputs, outputs, and the layer at each pair."""
    if shape.groups > 1:
        return _grouped_grid(shape, limits, whole)
    inputs, outputs = _widths(shape.inputs, limits), _widths(shape.outputs, limits)
    rows = [[replace(shape, inputs=i, outputs=o) for o in outputs] for i in inputs]
    return inputs, outputs, rows


def _loses_groups(shape: LayerShape, reads: npt.NDArray[np.int64]) -> bool:
    """Whether all that a group reads goes at once."""
    blocks = reads.reshape(shape.groups, -1)
    return bool((blocks == blocks[:, :1]).all())


def _grouped_grid(
    shape: LayerShape, limits: Limits, whole: bool
) -> tuple[list[int], list[int], list[list[LayerShape]]]:
    """What loses groups loses inputs and outputs together; other groups become narrower."""
    inputs, outputs = (n // shape.groups for n in (shape.inputs, shape.outputs))
    if whole:
        groups = _widths(shape.groups, limits, each=inputs)
        row = [replace(shape, inputs=g * inputs, outputs=g * outputs, groups=g) for g in groups]
        return [shape.inputs], [g * outputs for g in groups], [row]
    ins, outs = (
        [w * shape.groups for w in _widths(n, limits, each=shape.groups)] for n in (inputs, outputs)
    )
    return ins, outs, [[replace(shape, inputs=i, outputs=o) for o in outs] for i in ins]


def _widths(count: int, limits: Limits, *, each: int = 1) -> list[int]:
    """Numbers of units that are measured; ``each`` has so many channels."""
    multiple = limits.multiple_of(count * each)
    step = multiple // math.gcd(multiple, each)
    rounded = {min(count, max(step, round(count * s / step) * step)) for s in _MEASURED}
    return sorted(rounded | {count})


def _measured(
    shape: LayerShape,
    reads: npt.NDArray[np.int64],
    writes: npt.NDArray[np.int64],
    limits: Limits,
    times: dict[LayerShape, float],
) -> _Layer:
    inputs, outputs, rows = _grid(shape, limits, _loses_groups(shape, reads))
    return _Layer(
        shape=shape,
        reads=reads,
        writes=writes,
        input_widths=np.array(inputs, dtype=float),
        output_widths=np.array(outputs, dtype=float),
        times_ms=np.array([[times[s] for s in row] for row in rows]),
    )


def _required(times: object, count: int) -> Sequence[float]:
    """What a timer measured, one number for each layer."""
    found = list(times) if isinstance(times, Sequence | np.ndarray) else []
    if len(found) != count or not all(is_number(time) for time in found):
        raise PruningError(
            f"the timer returned a {type(times).__name__} for {count} layers; return a list with "
            "the milliseconds of each."
        )
    return found
