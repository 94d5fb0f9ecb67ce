"""Which tensors of a float network TFLite wants on a grid, and which share one.

The rules are those of the scheme that training places its quantisers by, told for ONNX's operators.
What has no integer kernel computes in floats, and so does all that reads it, up to the next layer
with weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge_tflite.lowering.meaning import MOVES, Constant, Network, Operation, Value

__all__ = ["Places", "is_weighted", "quantizer_places"]

_SHARE = frozenset({"AveragePool", "Concat", "GlobalAveragePool", "Resize"})
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_CLIP = frozenset({"Clip", "Relu"})
_FIXED = {"Sigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
# What computes a ReLU or clip behind it in one go.
_FUSE = frozenset({"Add", "Mul", "Sub", *_WEIGHTED})
_MEASURE = frozenset(
    {
        *("BatchNormalization", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu"),
        *("ReduceMean", *_CLIP, *_FUSE),
    }
)


@final
@dataclass(frozen=True, kw_only=True)
class Places:
    """Where quantisers belong.

    Args:
        groups: For each tensor that gets one, the name of the group whose grid it has.
        fixed: Groups whose range does not depend on data.
        carriers: For each activation on a grid, the quantised tensor whose grid it is.
    """

    groups: Mapping[str, str]
    fixed: Mapping[str, tuple[float, float]]
    carriers: Mapping[str, str]


def is_weighted(operation: Operation) -> bool:
    """Whether an operation is a layer whose weight is a constant.

    Example:
        >>> x, y = Value(name="x", shape=(1, 2)), Value(name="y", shape=(1, 2))
        >>> product = Operation(
        ...     kind="MatMul", name="", operands=(x, x), results=(y,), attributes={}
        ... )
        >>> is_weighted(product)
        False
    """
    weight = operation.operands[1] if len(operation.operands) > 1 else None
    if operation.kind not in _WEIGHTED or not isinstance(operation.operands[0], Value):
        return False
    matrix = operation.kind != "MatMul" or (weight is not None and len(weight.shape) == 2)
    return isinstance(weight, Constant) and matrix


def quantizer_places(network: Network) -> Places:
    """Go through a float network in order and say where quantisers belong.

    Args:
        network: Without quantisers.
    """
    plan = _Plan(network)
    for operation in network.operations:
        plan.place(operation)
    groups = {name: plan.root(name) for name in plan.parents}
    return Places(groups=groups, fixed=plan.fixed, carriers=plan.carriers)


@final
class _Plan:
    """Carriers by tensor, groups as a forest, and the ranges of groups that are known."""

    def __init__(self, network: Network) -> None:
        inputs = [value.name for value in network.inputs if value.dtype == "float32"]
        self.carriers = {name: name for name in inputs}
        self.parents = dict(self.carriers)
        self.fixed: dict[str, tuple[float, float]] = {}
        self._clipped, self._centred = _clipped(network), _centred(network)

    def place(self, operation: Operation) -> None:
        """Place the quantiser of an operation's result, if it has one."""
        if operation.kind in {*MOVES, "Pad"} and not _has_a_border(operation):
            self._carry(operation)
            return
        read = [operand.name for operand in operation.operands if isinstance(operand, Value)]
        if is_weighted(operation) and read[0] not in self.carriers:
            self._start(read[0])
        result = operation.results[0].name
        if not read or not all(name in self.carriers for name in read):
            return
        if operation.kind in _SHARE:
            self._share(result, read)
        elif operation.kind in _FIXED:
            self._start(result)
            self.fixed[self.root(result)] = _FIXED[operation.kind]
        elif operation.kind in {*_MEASURE, "Pad"} and result not in self._centred:
            self._start(result)

    def root(self, name: str) -> str:
        """The group of a tensor."""
        while self.parents[name] != name:
            name = self.parents[name]
        return name

    def _carry(self, operation: Operation) -> None:
        source = operation.operands[0]
        if isinstance(source, Value) and source.name in self.carriers:
            carrier = self.carriers[source.name]
            self.carriers |= {result.name: carrier for result in operation.results}

    def _start(self, result: str) -> None:
        """A grid of its own; what is fused has that of the clip behind it."""
        self.carriers[result] = self._clipped.get(result, result)
        if result not in self._clipped:
            self.parents.setdefault(result, result)

    def _share(self, result: str, read: list[str]) -> None:
        """One grid with what is read; a fixed range joined with another stays exact in floats."""
        roots = {self._group(self.carriers[name]) for name in read}
        ranges = {self.fixed.get(root) for root in roots}
        if len(ranges) > 1:
            return
        self._start(result)
        if (known := ranges.pop()) is not None:
            self.fixed[self.root(result)] = known
        self.parents |= dict.fromkeys(roots, self.root(result))

    def _group(self, carrier: str) -> str:
        self.parents.setdefault(carrier, carrier)
        return self.root(carrier)


def _has_a_border(operation: Operation) -> bool:
    """Whether a pad writes another number than 0, which every grid holds."""
    number = operation.operands[2] if len(operation.operands) > 2 else None
    constant = isinstance(number, Constant) and not np.any(number.values)
    return operation.kind == "Pad" and number is not None and not constant


def _clipped(network: Network) -> dict[str, str]:
    """Results that only a ReLU or clip reads, which TFLite computes in one go, and its result."""
    readers: dict[str, int] = {value.name: 1 for value in network.outputs.values()}
    for operation in network.operations:
        for operand in operation.operands:
            if isinstance(operand, Value):
                readers[operand.name] = readers.get(operand.name, 0) + 1
    fusing = {o.results[0].name for o in network.operations if o.kind in _FUSE}
    clips = [(o.operands[0], o.results[0]) for o in network.operations if o.kind in _CLIP]
    return {
        source.name: result.name
        for source, result in clips
        if isinstance(source, Value) and source.name in fusing and readers[source.name] == 1
    }


def _centred(network: Network) -> set[str]:
    """Means that are taken off what they are means of: a norm begins, which computes in floats."""
    sources = {
        o.results[0].name: o.operands[0].name
        for o in network.operations
        if o.kind == "ReduceMean" and isinstance(o.operands[0], Value)
    }
    found = set()
    for operation in network.operations:
        names = {o.name for o in operation.operands if isinstance(o, Value)}
        if operation.kind == "Sub":
            found |= {name for name in names if sources.get(name) in names}
    return found
