"""Which layers TensorRT may run in INT8, by its rules for explicit quantisation."""

from pathlib import Path

import numpy as np
import onnx

from torchedge.bench.census import Census, LayerCount, counted
from torchedge_onnx.census import CONVERSIONS, read_model
from torchedge_onnx.graph import (
    WEIGHTED_OPERATIONS,
    Constant,
    constants,
    producers,
    tensor_shapes,
    weighted_macs,
)

__all__ = ["eligible_census"]


def eligible_census(path: Path) -> Census:
    """Count the layers whose inputs are both quantised as TensorRT requires.

    The activation needs one scale for the tensor, activation and weight need zero points that are
    int8 and 0. Nothing is run, and the result says so. Operators are those of the file: TensorRT
    fuses many of them, and decides itself what else is in INT8.

    Raises:
        ArtifactError: The file cannot be read.
    """
    model = read_model(path)
    made_by, values, shapes = producers(model), constants(model), tensor_shapes(model)
    layers = []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED_OPERATIONS:
            continue
        reason = _fault(
            "activation", made_by.get(node.input[0]), values, per_tensor=True
        ) or _fault("weight", made_by.get(node.input[1]), values, per_tensor=False)
        layers.append(
            LayerCount(
                name=node.name,
                operation=node.op_type,
                macs=weighted_macs(node, shapes),
                integer=not reason,
                reason=reason,
            )
        )
    return Census(
        layers=tuple(layers),
        evidence="TensorRT's rules: eligible, not run",
        operators=counted(((node.op_type, None) for node in model.graph.node), CONVERSIONS),
    )


def _fault(
    what: str, source: onnx.NodeProto | None, values: dict[str, Constant], *, per_tensor: bool
) -> str:
    if source is None or source.op_type != "DequantizeLinear":
        return f"{what} is not quantised"
    if len(source.input) < 3 or not {*source.input[1:]} <= values.keys():
        return f"{what} has no constant scale and zero point"
    zero_point, scale = values[source.input[2]], values[source.input[1]]
    if zero_point.dtype != np.int8 or np.any(zero_point != 0):
        return f"{what} is not symmetric int8"
    if per_tensor and scale.size != 1:
        return f"{what} has a scale for each channel"
    return ""
