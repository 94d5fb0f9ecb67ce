"""Which tensors of a float ONNX graph TFLite wants on a grid, and which share one.

The rules are those of the scheme that training places its quantisers by, told for ONNX's operators.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import onnx

from torchedge.errors import SchemeError
from torchedge_onnx.graph import constants

__all__ = ["WEIGHTED", "Places", "quantizer_places"]

_KEEP = frozenset(
    {
        *("DepthToSpace", "Flatten", "Identity", "MaxPool", "Pad"),
        *("Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
_SHARE = frozenset({"AveragePool", "Concat", "GlobalAveragePool", "Resize"})
_CLIP = frozenset({"Clip", "Relu"})
_MEASURE = frozenset({"Add", "Conv", "Gemm", "HardSwish", "Mul", "Sub"})
_FIXED = {"Sigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
WEIGHTED = frozenset({"Conv", "Gemm"})
# What computes a ReLU or clip behind it in one go.
_FUSE = frozenset({"Add", "AveragePool", "GlobalAveragePool", "Mul", "Sub", *WEIGHTED})


@final
@dataclass(frozen=True, kw_only=True)
class Places:
    """Where quantisers belong.

    Args:
        groups: For each tensor that gets one, the name of the group whose grid it has.
        fixed: Groups whose range does not depend on data.
        carriers: For each activation, the quantised tensor whose grid it is on.
    """

    groups: Mapping[str, str]
    fixed: Mapping[str, tuple[float, float]]
    carriers: Mapping[str, str]


def quantizer_places(model: onnx.ModelProto) -> Places:
    """Go through a float graph in order and say where quantisers belong.

    Raises:
        SchemeError: An operator has no integer form here, or joins what TFLite fixes the scale of
            with something else; the text names it.
    """
    values = constants(model)
    readers = Counter(name for node in model.graph.node for name in node.input)
    carriers = {value.name: value.name for value in model.graph.input}
    parents = dict(carriers)
    fixed: dict[str, tuple[float, float]] = {}
    clipped = dict(_clipped(model, readers))
    for node in model.graph.node:
        result = node.output[0]
        read = [name for name in node.input if name and name not in values]
        _require_known(node, read, len(node.input))
        if node.op_type in _KEEP:
            carriers[result] = carriers[read[0]]
            continue
        if result in clipped:  # what is fused needs no grid of its own
            carriers[result] = clipped[result]
            continue
        carriers[result] = result
        parents.setdefault(result, result)
        shared = read if node.op_type in _SHARE else []
        roots = [_root(parents, carriers[name]) for name in shared]
        known = _common_range(node, [fixed.get(root) for root in roots])
        if known is not None:
            fixed[result] = known
        parents |= dict.fromkeys(roots, _root(parents, result))
    groups = {name: _root(parents, name) for name in parents}
    return Places(groups=groups, fixed=fixed, carriers=carriers)


def _clipped(model: onnx.ModelProto, readers: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Results that only a ReLU or clip reads, which TFLite computes in one go, and its result."""
    outputs = {output.name for output in model.graph.output}
    fusing = {n.output[0] for n in model.graph.node if n.op_type in _FUSE} - outputs
    for node in model.graph.node:
        before = node.input[0] if node.input else ""
        if node.op_type in _CLIP and before in fusing and readers[before] == 1:
            yield before, node.output[0]


def _common_range(
    node: onnx.NodeProto, operands: list[tuple[float, float] | None]
) -> tuple[float, float] | None:
    """The range of a result that does not depend on data."""
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]
    if len(set(operands)) > 1:
        raise SchemeError(
            f"'{node.name}' ({node.op_type}) joins a sigmoid, softmax or tanh, whose scale TFLite "
            "fixes, with values of another scale; return them as outputs of their own."
        )
    return operands[0] if operands else None


def _require_known(node: onnx.NodeProto, read: list[str], inputs: int) -> None:
    known = _KEEP | _SHARE | _CLIP | _MEASURE | _FIXED.keys()
    if node.op_type not in known:
        raise SchemeError(
            f"'{node.name}' is a {node.op_type}, which calibration of an ONNX graph does not place "
            "on integers; call prepare_qat on the PyTorch network, which knows more operations."
        )
    if node.op_type in _MEASURE - WEIGHTED and len(read) != inputs:
        raise SchemeError(
            f"'{node.name}' ({node.op_type}) reads a constant, which calibration of an ONNX graph "
            "does not place on integers; call prepare_qat on the PyTorch network."
        )


def _root(parents: Mapping[str, str], name: str) -> str:
    while parents[name] != name:
        name = parents[name]
    return name
