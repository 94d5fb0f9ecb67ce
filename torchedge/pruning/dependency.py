"""Which channels of a network go together, found by following them through one run."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.batches.examples import Examples, example_tensors
from torchedge.errors import PruningError
from torchedge.graph.copies import copied_with_parametrizations
from torchedge.graph.rewrites import open_attention
from torchedge.graph.trace import evaluating
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.pruning.attributes import counted_attributes
from torchedge.pruning.checks import require_float
from torchedge.pruning.functions import function_left_whole, graph_to_follow
from torchedge.pruning.grouping import Grouping
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.labels import axes_of, compact
from torchedge.pruning.operators import rule_of
from torchedge.pruning.sizes import Counted, NodeLabels, counted_sizes
from torchedge.pruning.tracking import Tracker, Tracking, tensors_in

__all__ = ["OUTPUT", "Dependencies", "channel_groups", "dependencies", "opened"]

OUTPUT = "it is an output of the network"
_KNOWN_LAYERS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding, nn.PReLU, nn.LayerNorm),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.GroupNorm, nn.RMSNorm),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_HOLDS_SIZES = (nn.Fold, nn.Unfold)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Dependencies:
    """A network's groups, and what its work and its memory are proportional to.

    Args:
        groups: All groups, those that cannot be pruned included.
        tracker: What the run showed.
        results: For each node the labels of what it returned.
        network: What ran: a copy whose attention is written out in linear layers.
        graph: The same as a graph.
        output: What it returned.
        example_inputs: What it ran on.
        evaluation_only: Why the graph must not be trained; empty where it may.
    """

    groups: tuple[ChannelGroup, ...]
    tracker: Tracker
    results: dict[fx.Node, NodeLabels]
    network: nn.Module
    graph: fx.GraphModule
    output: Any
    example_inputs: tuple[Tensor, ...]
    evaluation_only: str


@kinds_checked("model", "example_inputs", error=PruningError)
def channel_groups(model: nn.Module, example_inputs: Examples) -> tuple[ChannelGroup, ...]:
    """All channels of a network, in groups that stay or go together, in execution order.

    The network runs once on the inputs; labels of single channels go along and are joined wherever
    an operator needs two of them to stay or go together (Fang et al. 2023 call this the dependency
    graph). Channels that pass through an operator that is not known, or that are the network's
    output, form groups with a ``reason``, which cannot be pruned.

    ``nn.MultiheadAttention`` is opened into linear layers, as in the network that
    :func:`~torchedge.pruning.transform.remove_channels` returns.

    Args:
        model: A float network that torch.fx can follow.
        example_inputs: One valid set of inputs.

    Raises:
        TraceError: torch.fx cannot follow the model.
        PruningError: It is quantised.

    Example:
        >>> layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)
        >>> net = nn.Sequential(*layers)
        >>> for group in channel_groups(net, (torch.zeros(1, 1, 4, 4),)):
        ...     print(group.name, group.channels, group.members, group.reason)
        0 4 (('0', 'out'), ('1', 'out'), ('3', 'in')) None
        3 2 (('3', 'out'),) it is an output of the network
    """
    return dependencies(model, example_inputs).groups


def opened(model: nn.Module) -> nn.Module:
    """A copy whose attention is written out in linear layers."""
    copied = copied_with_parametrizations(model)
    open_attention(copied)
    return copied


def dependencies(model: nn.Module, example_inputs: Examples) -> Dependencies:
    """The groups with what was seen while they were found.

    Raises:
        TraceError: torch.fx cannot follow the model.
        PruningError: It is quantised.
    """
    model = unwrapped(model)
    require_float(model)
    example_inputs = example_tensors(model, example_inputs)
    known = opened(model)
    traced = graph_to_follow(model, known, example_inputs)
    graph_module = traced.graph_module
    following, result = _followed(known, graph_module, example_inputs, frozenset())
    collapsed = _collapsed(following.tracker)
    if collapsed:
        following, result = _followed(known, graph_module, example_inputs, collapsed)
    tracker = following.tracker
    sizes = list(_counted(following, tracker))
    groups = Grouping(tracker, example_inputs).groups(sizes)
    return Dependencies(
        groups=groups,
        tracker=tracker,
        results=following.seen,
        network=known,
        graph=graph_module,
        output=result,
        example_inputs=example_inputs,
        evaluation_only=traced.evaluation_only,
    )


def _followed(
    network: nn.Module,
    graph_module: fx.GraphModule,
    example_inputs: tuple[Tensor, ...],
    narrowed: frozenset[str],
) -> "tuple[_Following, Any]":
    tracker = Tracker(narrowed=narrowed)
    tracker.register(network)
    following = _Following(graph_module, tracker)
    with torch.no_grad(), evaluating(graph_module), Tracking(tracker, rule_of):
        result = following.run(*(copy.copy(x) for x in example_inputs))
    tracker.close(result, OUTPUT)
    _keep_grids(tracker)
    return following, result


def _collapsed(tracker: Tracker) -> frozenset[str]:
    """Convolutions that would lose whole groups, if these did not all go together."""
    return frozenset(
        axis.path
        for axis in tracker.axes
        if axis.path in tracker.whole
        and axis.axis == 0
        and len(tracker.units.roots(axis.labels).unique()) == 1
    )


def _counted(following: "_Following", tracker: Tracker) -> Iterator[Counted]:
    assert isinstance(following.module, fx.GraphModule)
    for node, seen in following.seen.items():
        if node.op == "call_module":
            layer = following.module.get_submodule(str(node.target))
            yield from counted_attributes(node, layer, seen, tracker.units)
        yield from counted_sizes(node, following.module, seen, tracker.units)


@final
class _Following(fx.Interpreter):
    """Runs node by node, and notes the labels that each node took and gave."""

    def __init__(self, graph_module: fx.GraphModule, tracker: Tracker) -> None:
        super().__init__(graph_module)
        self.extra_traceback = False
        self.tracker = tracker
        self.seen: dict[fx.Node, NodeLabels] = {}

    @override
    def run_node(self, n: fx.Node) -> Any:
        operands = self.map_nodes_to_values((n.args, n.kwargs), n)
        first = next(tensors_in(operands), None)
        operand = None if first is None else self.tracker.of(first)
        numbers = {m: v for m in n.all_input_nodes if isinstance(v := self.env[m], int)}
        reason = self._opaque(n)
        if reason:
            self.tracker.close((operands, list(self._parameters(n))), reason)
        result = super().run_node(n)
        if reason:
            self.tracker.close(result, reason)
        labels = tuple(self.tracker.of(tensor) for tensor in tensors_in(result))
        shares = first is not None and _in_memory_of(result, first)
        self.seen[n] = NodeLabels(
            operand=operand, results=labels, shares_memory=shares, numbers=numbers
        )
        return result

    def _parameters(self, node: fx.Node) -> Iterable[Tensor]:
        if node.op != "call_module":
            return ()
        module = self.module.get_submodule(str(node.target))
        return (*module.parameters(), *module.buffers())

    def _opaque(self, node: fx.Node) -> str:
        """Why the code inside a node cannot be given other sizes, or an empty text."""
        if node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            unknown = any(True for _ in layer.parameters()) and not isinstance(layer, _KNOWN_LAYERS)
            if unknown or isinstance(layer, _HOLDS_SIZES):
                return f"pruning does not know the layer {type(layer).__name__} '{node.target}'"
        name = function_left_whole(node)
        return f"pruning cannot look into the function '{name}'" if name else ""


def _in_memory_of(result: object, operand: Tensor) -> bool:
    place = operand.untyped_storage().data_ptr()
    return any(t.untyped_storage().data_ptr() == place for t in tensors_in(result))


def _keep_grids(tracker: Tracker) -> None:
    """Join what must go together for every tensor to stay a grid of full rows and columns.

    Where labels differ along several axes, channels are removed along the longest of them.
    """
    units, pending = tracker.units, tracker.grids
    while pending:
        changed = []
        for grid in pending:
            final = compact(units.roots(grid))
            axes = sorted(axes_of(final), key=lambda axis: final.shape[axis])
            for axis in axes[:-1]:
                units.join_along(final, axis)
                changed.append(grid)
        pending = changed
