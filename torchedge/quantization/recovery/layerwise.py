"""A quantised network and its float reference, run side by side, node by node.

Methods that repair one layer after another need the input that a layer gets *after* the layers
before it were repaired. Walking the graph once, with every batch at the same node, costs one
forward pass of each network instead of one for each layer.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, fx, nn

from torchedge.errors import SchemeError
from torchedge.graph.copies import copied
from torchedge.quantization.batches import Inputs, input_batches
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer

__all__ = ["LayerStep", "in_float", "kept_batches", "layer_steps"]


@final
@dataclass(frozen=True, kw_only=True)
class LayerStep:
    """One weighted layer, at the moment when the walk has reached it.

    Args:
        name: Path of the layer in the model.
        layer: The layer in the quantised network; what is changed here is used from here on.
        inputs: What the layer reads in the quantised network, one tensor a batch.
        targets: What it returns in the reference.
        results: What the layer now returns, one tensor a batch, from whoever has computed it: the
            walk then does not compute it again.
    """

    name: str
    layer: QuantizedLayer
    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    results: list[Tensor] = field(default_factory=list)

    def of(self, batches: slice) -> "LayerStep":
        """The same moment with only some of the batches."""
        return LayerStep(
            name=self.name,
            layer=self.layer,
            inputs=self.inputs[batches],
            targets=self.targets[batches],
        )


def in_float(model: nn.Module) -> nn.Module:
    """A copy of a prepared model with every quantiser off: the network that was prepared.

    Example:
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net, x = nn.Sequential(nn.Linear(2, 2)), torch.rand(1, 2)
        >>> torch.equal(in_float(prepare_qat(net, QuantScheme(), (x,)))(x), net(x))
        True
    """
    reference = copied(model).eval()
    for module in reference.modules():
        if isinstance(module, FakeQuantize | QuantizedLayer):
            module.enabled = False
    return reference


def kept_batches(model: nn.Module, data: object) -> tuple[Inputs, ...]:
    """The inputs of all batches, kept in memory.

    Raises:
        CalibrationError: There is no batch, or one cannot be used.
    """
    return tuple(input_batches(model, data))


def layer_steps(
    model: nn.Module, reference: nn.Module, batches: tuple[Inputs, ...]
) -> Iterator[LayerStep]:
    """Walk both networks in execution order and stop at every weighted layer.

    A layer that is called several times is walked through without a stop: a change that suits one
    call would spoil the others. Memory is that of the tensors still to be read, for all batches.

    Args:
        model: A calibrated model from ``prepare_qat``, in evaluation mode.
        reference: A model of the same graph.
        batches: Inputs of both.

    Raises:
        SchemeError: The models do not come from ``prepare_qat``, or differ in their graph.
    """
    nodes = _paired_nodes(model, reference)
    ours = tuple(_interpreter(model, batch) for batch in batches)
    theirs = tuple(_interpreter(reference, batch) for batch in batches)
    calls = Counter(node.target for node, _ in nodes if node.op == "call_module")
    for node, twin in nodes:
        if node.op == "output":
            return
        _run(theirs, twin)
        layer = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        results: list[Tensor] = []
        if isinstance(layer, QuantizedLayer) and calls[node.target] == 1:
            yield LayerStep(
                name=str(node.target),
                layer=layer,
                inputs=tuple(run.env[node.all_input_nodes[0]] for run in ours),
                targets=tuple(run.env[twin] for run in theirs),
                results=results,
            )
        _run(ours, node, results)


def _paired_nodes(model: nn.Module, reference: nn.Module) -> list[tuple[fx.Node, fx.Node]]:
    if not isinstance(model, fx.GraphModule) or not isinstance(reference, fx.GraphModule):
        raise SchemeError("recovery works on models made by prepare_qat; prepare the model first.")
    ours, theirs = list(model.graph.nodes), list(reference.graph.nodes)
    if [node.name for node in ours] != [node.name for node in theirs]:
        raise SchemeError(
            f"model and reference have different graphs, of {len(ours)} and {len(theirs)} nodes; "
            "the reference is a copy of the prepared model, made before weights were changed."
        )
    return list(zip(ours, theirs, strict=True))


def _interpreter(model: nn.Module, batch: Inputs) -> fx.Interpreter:
    assert isinstance(model, fx.GraphModule)
    interpreter = fx.Interpreter(model)
    interpreter.extra_traceback = False
    interpreter.args_iter = iter(batch)
    return interpreter


@torch.no_grad()
def _run(
    interpreters: tuple[fx.Interpreter, ...], node: fx.Node, results: Sequence[Tensor] = ()
) -> None:
    for index, interpreter in enumerate(interpreters):
        known = results[index] if results else None
        interpreter.env[node] = interpreter.run_node(node) if known is None else known
        for finished in interpreter.user_to_last_uses.get(node, []):
            del interpreter.env[finished]
