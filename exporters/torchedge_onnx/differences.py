"""Where ONNX Runtime and PyTorch part: every quantised tensor of a network, compared in both."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import onnx
import torch
from torch import Tensor, fx

from torchedge.bench.session import Array
from torchedge.compressed import integer_program
from torchedge.errors import VerificationError
from torchedge.exporting.artifact import Artifact
from torchedge.reference.program import IntegerProgram
from torchedge_onnx.census import optimised_graph, read_model
from torchedge_onnx.graph import KEEP_VALUES, constants, producers
from torchedge_onnx.session import observable, open_model, open_observed

__all__ = ["TensorDifference", "tensor_differences"]

_SAME = 0.01  # of a step; what is written on a grid is on it to some units in the last place
_ONE = 1.01


@final
@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """One quantised tensor over all samples, in steps of its grid.

    Args:
        name: What computes it, as the saved program names it.
        values: How many were compared.
        operation: The runtime's operator that writes it: ``QuantizeLinear`` where what is quantised
            was computed in float.
        local_identical: Share that is equal where PyTorch reads what the runtime has computed
            before: what this part of the network differs by itself.
        local_within_one: Share that is then at most one step off.
        identical: Share that is equal where each has computed everything itself.
        within_one: Share that is then at most one step off.
    """

    name: str
    values: int
    operation: str
    local_identical: float
    local_within_one: float
    identical: float
    within_one: float


def tensor_differences(
    source: Artifact, path: Path, samples: Iterable[tuple[Array, ...]]
) -> tuple[TensorDifference, ...]:
    """Run samples in both, and compare every tensor that is on a grid, in execution order.

    A rounding that falls the other way in one of a million values changes some of what is computed
    from it, and so on through a deep network. Comparing each tensor twice tells this from an error:
    with the runtime's own values put in PyTorch's place before each operation, an exact operation
    differs nowhere, and a float one (a normalisation, a softmax) in few values, by one step.

    Args:
        source: The saved program, of a scheme that ONNX Runtime computes on integers.
        path: The ONNX file that was exported from it.
        samples: Inputs, one set a run, of the program's shapes.

    Raises:
        VerificationError: The program is not computed on integers, the file does not hold its
            tensors, or watching them changes what the runtime answers.
        ArtifactError: One of the two cannot be read.
    """
    program = integer_program(source)
    if program is None:
        raise VerificationError(
            "the program's biases are not int32, so that its runtime does not compute on integers; "
            "compare the outputs."
        )
    watched = _Watched(path)
    nodes = [node for node in program.graph.nodes if node.name in watched.names]
    if not nodes:
        raise VerificationError(
            f"'{path}' has none of the {source.format} program's quantised tensors; compare a file "
            "with the program that it was exported from."
        )
    local, carried = ({node.name: _Count() for node in nodes} for _ in range(2))
    for inputs in samples:
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs)
        theirs = watched.run(inputs)
        _walk(program, tensors, theirs, local, replace=True)
        _walk(program, tensors, theirs, carried, replace=False)
    operations = watched.operations()
    return tuple(
        _difference(node, operations[node.name], local[node.name], carried[node.name])
        for node in nodes
    )


@final
class _Watched:
    """A file in ONNX Runtime whose quantised tensors are outputs as well."""

    def __init__(self, path: Path) -> None:
        self._model = model = read_model(path)
        self._plain = open_model(path)
        self._grids = _grids(model)
        self.names = [name for name, _, _ in self._grids.values()]
        outputs = [value.name for value in model.graph.output]
        self._outputs = len(outputs)
        self._session = open_observed(model, [*outputs, *self._grids], as_deployed=True)

    def operations(self) -> dict[str, str]:
        """The runtime's operator that writes each tensor, by the program's name of it."""
        writers = producers(optimised_graph(observable(self._model, list(self._grids))))
        return {
            name: _operation(integers, writers) for integers, (name, _, _) in self._grids.items()
        }

    def run(self, inputs: tuple[Array, ...]) -> dict[str, tuple[Tensor, float]]:
        """Real values and step of each tensor, by the program's name of it."""
        found = self._session(*inputs)
        for expected, output in zip(self._plain(*inputs), found[: self._outputs], strict=True):
            if not np.array_equal(expected, output):
                raise VerificationError(
                    "ONNX Runtime answers otherwise when its tensors are watched, by up to "
                    f"{np.abs(expected - output).max():.3g}; they would explain nothing."
                )
        values = {}
        for integers, (name, scale, zero) in zip(
            found[self._outputs :], self._grids.values(), strict=True
        ):
            real = (torch.from_numpy(integers).to(torch.int32) - zero).float() * scale
            values[name] = real, scale
        return values


def _operation(tensor: str, writers: dict[str, onnx.NodeProto]) -> str:
    """What writes a tensor, where its values were last computed; a layout is only moved."""
    writer = writers.get(tensor)
    while writer is not None and writer.op_type in KEEP_VALUES:
        writer = writers.get(writer.input[0])
    return "" if writer is None else writer.op_type


def _grids(model: onnx.ModelProto) -> dict[str, tuple[str, float, int]]:
    """For each integer tensor the name of its real values, scale and zero point."""
    values, writers = constants(model), producers(model)
    grids = {}
    for node in model.graph.node:
        writer = writers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if writer is None or writer.op_type != "QuantizeLinear":
            continue
        scale, zero = (values[name] for name in node.input[1:3])
        grids[node.input[0]] = (node.output[0], float(scale), int(zero))
    return grids


@torch.no_grad()
def _walk(
    program: IntegerProgram,
    inputs: tuple[Tensor, ...],
    theirs: dict[str, tuple[Tensor, float]],
    counts: "dict[str, _Count]",
    *,
    replace: bool,
) -> None:
    """Compute node by node and count; where asked for, go on with the runtime's values."""
    program.args_iter = iter(inputs)
    program.env = {}
    for node in program.graph.nodes:
        if node.op == "output":
            return
        value = program.run_node(node)
        if node.name in theirs:
            real, scale = theirs[node.name]
            counts[node.name].add(value, real, scale)
            value = real.reshape(value.shape).clone() if replace else value  # some work in place
        program.env[node] = value
        for finished in program.user_to_last_uses.get(node, []):
            del program.env[finished]


@final
class _Count:
    """Running counts of one tensor: its values, and those that are equal or one step off."""

    def __init__(self) -> None:
        self.values = self.identical = self.within_one = 0

    def add(self, ours: Tensor, theirs: Tensor, scale: float) -> None:
        steps = (ours.reshape(theirs.shape) - theirs).abs() / scale
        self.values += steps.numel()
        self.identical += int((steps < _SAME).sum())
        self.within_one += int((steps < _ONE).sum())


def _difference(node: fx.Node, operation: str, local: _Count, carried: _Count) -> TensorDifference:
    """Named after the operation before the quantiser, which says more than its number."""
    source = node.args[0]
    return TensorDifference(
        name=source.name if isinstance(source, fx.Node) else node.name,
        values=carried.values,
        operation=operation,
        local_identical=local.identical / local.values,
        local_within_one=local.within_one / local.values,
        identical=carried.identical / carried.values,
        within_one=carried.within_one / carried.values,
    )
