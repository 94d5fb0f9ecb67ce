"""Where ONNX Runtime and PyTorch part: every quantised tensor of a network, compared in both."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx
import torch
from torch import Tensor, fx

from torchedge.bench.session import Array
from torchedge.compressed import integer_program
from torchedge.errors import VerificationError
from torchedge.export.artifact import Artifact
from torchedge.quantization.integers import IntegerProgram
from torchedge_onnx.census import read_model
from torchedge_onnx.graph import constants, producers
from torchedge_onnx.session import open_model

__all__ = ["TensorDifference", "tensor_differences"]

_QUANTIZE = torch.ops.torchedge.fake_quantize.default
_SAME = 0.01  # of a step; what is written on a grid is on it to some units in the last place
_ONE = 1.01


@final
@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """One quantised tensor over all samples, in steps of its grid.

    Args:
        name: What computes it, as the saved program names it.
        values: How many were compared.
        local_identical: Share that is equal where PyTorch reads what the runtime has computed
            before: what this part of the network differs by itself.
        local_within_one: Share that is then at most one step off.
        identical: Share that is equal where each has computed everything itself.
        within_one: Share that is then at most one step off.
    """

    name: str
    values: int
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
    counts = {node.name: _Count() for node in nodes}
    for inputs in samples:
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs)
        theirs = watched.run(inputs)
        _walk(program, tensors, theirs, counts, own=False)
        _walk(program, tensors, theirs, counts, own=True)
    return tuple(counts[node.name].result(_computed_by(node)) for node in nodes)


@final
class _Watched:
    """A file in ONNX Runtime whose quantised tensors are outputs as well."""

    def __init__(self, path: Path) -> None:
        model = read_model(path)
        self._plain = open_model(path)
        self._outputs = len(model.graph.output)
        self._grids = _grids(model)
        self.names = [name for name, _, _ in self._grids.values()]
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "watched.onnx")
            onnx.save(_with_outputs(model, list(self._grids)), copy)
            self._session = open_model(copy)

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


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model, changed in place, with more tensors as outputs; the runtime finds their types."""
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


@torch.no_grad()
def _walk(
    program: IntegerProgram,
    inputs: tuple[Tensor, ...],
    theirs: dict[str, tuple[Tensor, float]],
    counts: "dict[str, _Count]",
    *,
    own: bool,
) -> None:
    """Compute node by node, with PyTorch's own values or the runtime's put in their place."""
    program.args_iter = iter(inputs)
    program.env = {}
    for node in program.graph.nodes:
        if node.op == "output":
            return
        value = program.run_node(node)
        if node.name in theirs:
            real, scale = theirs[node.name]
            counts[node.name].add(value, real, scale, own=own)
            value = value if own else real.clone()  # some operations work in place
        program.env[node] = value
        for finished in program.user_to_last_uses.get(node, []):
            del program.env[finished]


@final
class _Count:
    """Running counts of one tensor."""

    def __init__(self) -> None:
        self.values = {True: 0, False: 0}
        self.identical = {True: 0, False: 0}
        self.within_one = {True: 0, False: 0}

    def add(self, ours: Any, theirs: Tensor, scale: float, *, own: bool) -> None:  # noqa: ANN401
        steps = (ours.reshape(theirs.shape) - theirs).abs() / scale
        self.values[own] += steps.numel()
        self.identical[own] += int((steps < _SAME).sum())
        self.within_one[own] += int((steps < _ONE).sum())

    def result(self, name: str) -> TensorDifference:
        return TensorDifference(
            name=name,
            values=self.values[True],
            local_identical=self.identical[False] / self.values[False],
            local_within_one=self.within_one[False] / self.values[False],
            identical=self.identical[True] / self.values[True],
            within_one=self.within_one[True] / self.values[True],
        )


def _computed_by(node: fx.Node) -> str:
    """The operation before a quantiser, which says more than the quantiser's number."""
    source = node.args[0]
    return source.name if isinstance(source, fx.Node) else node.name
