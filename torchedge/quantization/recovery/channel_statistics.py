"""What calibration batches show of each channel, and how far its values may reach beyond that."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, fx
from typing_extensions import override

from torchedge.quantization.batches import Inputs
from torchedge.quantization.operations import kind_of
from torchedge.quantization.recovery.carriers import clips_at_six

__all__ = ["ROOF", "Channels", "Seen", "observed", "reach_of", "widened"]

ROOF = 6.0
_DEVIATIONS = 4.0  # of some ten thousand normal values one is expected to be further out


@final
@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of each channel of a tensor; every field is of shape ``(channels,)``.

    Args:
        low: Smallest value.
        high: Largest value.
        mean: Mean over samples and positions.
        mean_square: Mean of the squares.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    mean_square: Tensor

    @property
    def largest(self) -> Tensor:
        """Largest magnitude."""
        return torch.maximum(self.high, -self.low)

    @property
    def upper(self) -> Tensor:
        """How far up values may reach: to what was seen, or four deviations above the mean."""
        return torch.maximum(self.high, self.mean + self._spread)

    @property
    def either_way(self) -> Tensor:
        """How far up or down values may reach."""
        return torch.maximum(self.largest, self.mean.abs() + self._spread)

    @property
    def _spread(self) -> Tensor:
        return _DEVIATIONS * (self.mean_square - self.mean.square()).clamp(min=0).sqrt()


@final
@dataclass(frozen=True, kw_only=True)
class Channels:
    """A tensor of the graph, its features seen as so many channels."""

    node: fx.Node
    count: int


@torch.no_grad()
def observed(
    graph_module: fx.GraphModule, tensors: Iterable[Channels], batches: tuple[Inputs, ...]
) -> dict[Channels, Seen]:
    """Run the graph on all batches and look at the channels of some of its tensors."""
    wanted = set(tensors)
    parts: dict[Channels, list[tuple[int, Seen]]] = {}
    for batch in batches:
        watching = _Watching(graph_module, wanted)
        watching.run(*batch)
        for tensor, seen in watching.seen.items():
            parts.setdefault(tensor, []).append((len(batch[0]), seen))
    return {tensor: _joined(found) for tensor, found in parts.items()}


def widened(seen: dict[Channels, Seen], further: dict[Channels, Seen]) -> dict[Channels, Seen]:
    """The same statistics with the extremes of further samples."""
    return {
        tensor: replace(
            first,
            low=torch.minimum(first.low, further[tensor].low),
            high=torch.maximum(first.high, further[tensor].high),
        )
        for tensor, first in seen.items()
    }


def reach_of(tensor: Channels, seen: dict[Channels, Seen]) -> Tensor:
    """The largest magnitude of each channel that the data supports: at least what was seen.

    A channel that a few samples hardly wake may be awake on others. What it can come to shows in
    front of the activation, where it has a mean and a deviation although behind it there are only
    zeros: four deviations above the mean, and at least as far up as values there went down.
    """
    own, (source, roof) = seen[tensor], _before_activation(tensor, seen)
    if source is None:
        return own.either_way
    awake = torch.maximum(source.upper, source.largest).clamp(max=roof)
    share = own.largest.amax() / source.high.amax().clamp(min=1e-12, max=roof)
    return torch.maximum(own.largest, awake * share.clamp(max=1))


def _before_activation(tensor: Channels, seen: dict[Channels, Seen]) -> tuple[Seen | None, float]:
    """What an activation reads whose result, perhaps pooled or flattened, is the tensor.

    And the largest value that it lets through.
    """
    node = tensor.node
    while len(node.all_input_nodes) == 1:
        source = Channels(node=node.all_input_nodes[0], count=tensor.count)
        if source not in seen:
            break
        graph_module = node.graph.owning_module
        assert graph_module is not None
        if kind_of(node, graph_module) in {"activation", "nonlinear"}:
            return seen[source], ROOF if clips_at_six(node, graph_module) else float("inf")
        node = source.node
    return None, float("inf")


def _joined(parts: list[tuple[int, Seen]]) -> Seen:
    samples = torch.tensor([float(count) for count, _ in parts])
    share = (samples / samples.sum())[:, None]
    return Seen(
        low=torch.stack([part.low for _, part in parts]).amin(0),
        high=torch.stack([part.high for _, part in parts]).amax(0),
        mean=(share * torch.stack([part.mean for _, part in parts])).sum(0),
        mean_square=(share * torch.stack([part.mean_square for _, part in parts])).sum(0),
    )


@final
class _Watching(fx.Interpreter):
    """Runs a graph and notes the channels of some of its tensors."""

    def __init__(self, graph_module: fx.GraphModule, wanted: set[Channels]) -> None:
        super().__init__(graph_module)
        self.extra_traceback = False
        self.counts: dict[fx.Node, set[int]] = {}
        for tensor in wanted:
            self.counts.setdefault(tensor.node, set()).add(tensor.count)
        self.seen: dict[Channels, Seen] = {}

    @override
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        for count in self.counts.get(n, ()):
            values = result.reshape(len(result), count, -1)
            over = (0, 2)
            norm = torch.linalg.vector_norm(values, dim=over)
            self.seen[Channels(node=n, count=count)] = Seen(
                low=values.amin(over),
                high=values.amax(over),
                mean=values.mean(over),
                mean_square=norm.square() / (values.numel() / count),
            )
        return result
