"""A graph that computes what the network computes, in evaluation and in training."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.errors import TraceError
from torchedge.graph.guard import Arguments, Reference, deviation, reference_of
from torchedge.graph.locate import (
    Difference,
    differences,
    first_difference,
    traced_with_modes,
)

__all__ = [
    "EvaluationGraph",
    "FaithfulGraph",
    "faithful_graph",
    "for_evaluation",
    "require_same_function",
]

_REASON = "torchedge_evaluation_only"


@final
@dataclass(frozen=True, kw_only=True)
class FaithfulGraph:
    """A traced network.

    Args:
        model: The network as it came.
        graph_module: Its graph.
        reference: What the network that it was made from returns.
        evaluation_only: Why the graph must not be trained; empty where it may be.
    """

    model: nn.Module
    graph_module: fx.GraphModule
    reference: Reference
    evaluation_only: str


class EvaluationGraph(fx.GraphModule):
    """A graph of a network that does something else in training, which the graph cannot show."""

    @override
    def train(self, mode: bool = True) -> "EvaluationGraph":
        """Refuse training mode.

        Raises:
            TraceError: ``mode`` is true.
        """
        if mode:
            raise TraceError(f"this graph is for evaluation only: {self.meta[_REASON]}")
        super().train(mode)
        return self


def for_evaluation(graph_module: fx.GraphModule, reason: str) -> fx.GraphModule:
    """The same graph, but that it cannot be put into training mode; as it is without a reason."""
    if not reason:
        return graph_module
    made = EvaluationGraph(graph_module, graph_module.graph, type(graph_module).__name__)
    made.meta[_REASON] = reason
    return made.eval()


def faithful_graph(
    model: nn.Module,
    opened: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    into_functions: bool = False,
) -> FaithfulGraph:
    """The graph of ``opened`` that computes what ``model`` computes on the example inputs.

    A module without convolutions and linear layers that does something else in training (noise, a
    dropped path) stays one node of the graph. If a larger part does something else in training, a
    model that comes in training mode is refused; of one in evaluation mode the graph is made for
    evaluation only.

    Args:
        model: The user's network.
        opened: A copy of it, of whose layers the graph is made.
        example_inputs: One valid set of inputs.
        into_functions: Whether functions passed to ``torch.fx.wrap`` are traced, too.

    Raises:
        TraceError: The network does not run on the inputs, torch.fx cannot follow it, or the graph
            computes something else; the text names the module.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        >>> made = faithful_graph(net, net, (torch.ones(1, 2),))
        >>> [node.name for node in made.graph_module.graph.nodes], made.evaluation_only
        (['input_1', '_0', '_1', 'output'], '')
    """
    reference = reference_of(model, (example_inputs, {}))
    leaves: frozenset[str] = frozenset()
    given: Arguments = (example_inputs, {})
    traced = functools.partial(traced_with_modes, opened, given, into_functions=into_functions)
    while True:
        graph_module = traced(leaves)
        wrong = _wrong_modes(reference, graph_module)
        if wrong == ("training",):  # what was written as a function may be meant to stay as it is
            fixed = traced(leaves, following=False)
            if not _wrong_modes(reference, fixed):
                graph_module, wrong = fixed, ()
        found = tuple(differences(opened, example_inputs, leaves)) if wrong else ()
        more = {d.path for d in found if d.can_stay_whole} - leaves
        if not more:
            break
        leaves |= more
    why = _why(model, wrong, found, leaves) if wrong else reference.reason
    if "evaluation" in wrong or (why and model.training):
        raise TraceError(why)
    return FaithfulGraph(
        model=model, graph_module=graph_module, reference=reference, evaluation_only=why
    )


def require_same_function(traced: FaithfulGraph, made: nn.Module) -> None:
    """Refuse a network that was made of a graph and computes something else.

    Args:
        traced: The graph of the original.
        made: What was made of it, with quantisation off.

    Raises:
        TraceError: Their outputs differ; the text names the first layer whose result does.
    """
    modes = (False,) if traced.evaluation_only else (False, True)
    for training in modes:
        distance = deviation(traced.reference, made, training=training)
        if distance:
            mode = "training" if training else "evaluation"
            first = first_difference(traced.model, made, traced.reference, training=training)
            where = f", first in '{first}'" if first else ""
            raise TraceError(
                f"in {mode} mode the result differs from the float network by {distance:.1e} of "
                f"its range with quantisation off{where}. This is a defect of the transform: "
                "please report the model, or pass the parts around it."
            )


def _wrong_modes(reference: Reference, graph_module: fx.GraphModule) -> tuple[str, ...]:
    modes = {"evaluation": False, "training": True}
    return tuple(
        m for m, training in modes.items() if deviation(reference, graph_module, training=training)
    )


def _why(
    model: nn.Module, wrong: tuple[str, ...], found: Iterable[Difference], leaves: frozenset[str]
) -> str:
    first = next((d for d in found if d.path not in leaves), None)
    path = first.path if first else ""
    name = f"{type(model.get_submodule(path) if path else model).__name__}"
    where = f"{name} '{path or 'the model itself'}'"
    if "evaluation" in wrong:
        return (
            f"{where} computes something else than its graph: it changes tensors in place that are "
            "read elsewhere, draws random numbers in evaluation mode, or replaces its own forward. "
            "Write that part without it, or pass the parts around it."
        )
    return (
        f"{where} computes something else in training mode (a branch on self.training, an "
        "auxiliary output, a function called with training=False or True), which a graph of one "
        "mode cannot hold. Put what differs into a module without layers, switch it off "
        "(aux_logits=False), or pass the model in evaluation mode and do not train the result."
    )
