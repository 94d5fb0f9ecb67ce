"""Running a prepared network node by node, keeping only the tensors that are still to be read."""

import copy
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, fx, nn

from torchedge.errors import CalibrationError, SchemeError
from torchedge.graph.copies import copied
from torchedge.quantization.batches import Inputs
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer

__all__ = [
    "Quantized",
    "Run",
    "prepared_copy",
    "quantized_module",
    "quantized_modules",
    "switch",
    "tensors_in",
]

Quantized = FakeQuantize | QuantizedLayer


@final
class Run:
    """One pass of one batch through a graph, in steps.

    Args:
        model: What is run; its switches count at the moment of each step.
        batch: The inputs.
        number: Of the batch, for messages.
    """

    def __init__(self, model: fx.GraphModule, batch: Inputs, number: int = 0) -> None:
        self.model = model
        self.batch = batch
        self.number = number
        self._interpreter = fx.Interpreter(model)
        self._interpreter.extra_traceback = False
        self._interpreter.args_iter = iter(batch)

    def input_of(self, node: fx.Node) -> Tensor:
        """The first tensor that a node is about to read."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        value = self._interpreter.env[source]
        assert isinstance(value, Tensor)
        return value

    @torch.no_grad()
    def step(self, node: fx.Node) -> Any:  # noqa: ANN401
        """Compute a node from the ones before it.

        Raises:
            CalibrationError: The batch does not fit the model.
        """
        try:
            return self.put(node, self._interpreter.run_node(node))
        except (RuntimeError, IndexError, ValueError, StopIteration) as error:
            what = (str(error).splitlines() or [type(error).__name__])[0]
            shapes = ", ".join(str(tuple(x.shape)) for x in self.batch)
            raise CalibrationError(
                f"batch {self.number} of shape {shapes} does not fit the model: "
                f"at '{node.target}', {what}"
            ) from error

    def put(self, node: fx.Node, value: Any) -> Any:  # noqa: ANN401
        """Take ``value`` as the result of a node, and forget what no later node reads."""
        self._interpreter.env[node] = value
        for finished in self._interpreter.user_to_last_uses.get(node, []):
            del self._interpreter.env[finished]
        return value

    def fork(self) -> "Run":
        """A run that goes on from here by itself; operations in place do not reach back."""
        forked = Run(self.model, self.batch, self.number)
        held = self._interpreter.env
        copies = copy.deepcopy(list(held.values()))  # one call, so that views stay views
        forked._interpreter.env = dict(zip(held, copies, strict=True))
        return forked


def prepared_copy(model: nn.Module) -> fx.GraphModule:
    """A copy in evaluation mode, for switching quantisers on and off.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``.
        CalibrationError: A quantiser has no range yet.
    """
    if not isinstance(model, fx.GraphModule) or not quantized_modules(model):
        raise SchemeError("diagnostics read models made by prepare_qat; prepare the model first.")
    made = copied(model).eval()
    for name, module in quantized_modules(made).items():
        if isinstance(module, FakeQuantize) and module.enabled:
            module.require_calibrated(name)
    return made


def quantized_modules(model: nn.Module) -> dict[str, Quantized]:
    """Every quantiser and every layer with integer weights, by its path."""
    return {n: m for n, m in model.named_modules() if isinstance(m, Quantized)}


def quantized_module(node: fx.Node, model: fx.GraphModule) -> Quantized | None:
    """What a node calls, where that is a quantiser or a layer with integer weights."""
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    return module if isinstance(module, Quantized) else None


def switch(model: nn.Module, *, enabled: bool) -> None:
    """Turn all fake quantisation of a model on or off, in place."""
    for module in quantized_modules(model).values():
        module.enabled = enabled


def tensors_in(result: object) -> list[Tensor]:
    """The real-valued tensors in what a network returned, in order."""
    if isinstance(result, Tensor):
        return [result] if result.is_floating_point() else []
    if isinstance(result, Mapping):
        result = tuple(result.values())
    if not isinstance(result, tuple | list):
        return []
    return [tensor for value in result for tensor in tensors_in(value)]
