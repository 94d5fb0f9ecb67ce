"""Which share of a .tflite file's arithmetic is integer, and what has no place in it."""

from pathlib import Path

import numpy as np

from torchedge.bench.census import Census, LayerCount, OperatorCount, counted
from torchedge_tflite.flatbuffer import FlatModel, Operator, read_model

__all__ = ["file_census", "forbidden_operators", "operator_counts", "operator_macs"]

_INTEGERS = {"int8", "uint8", "int16", "int32", "bool"}
# Shapes at run time, which small runtimes lack, and passages between integers and floats.
_FORBIDDEN = frozenset({"SHAPE", "STRIDED_SLICE", "PACK", "QUANTIZE", "DEQUANTIZE"})
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_WEIGHT_PLACE = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}


def file_census(path: Path) -> Census:
    """Count the multiply-accumulates of a file whose operands and results are integers.

    An operator without multiply-accumulates is listed where it computes on floats.

    Raises:
        ArtifactError: The file cannot be read.
        MissingDependencyError: ai-edge-litert is not installed.
    """
    flat = read_model(path)
    layers = tuple(
        _count(index, operator, flat)
        for index, operator in enumerate(flat.operators)
        if operator_macs(operator, flat) or not _is_integer(operator, flat)
    )
    return Census(
        layers=layers,
        evidence=f"the operators of the .tflite file; {_also(flat)}",
        operators=operator_counts(flat),
    )


def operator_counts(flat: FlatModel) -> tuple[OperatorCount, ...]:
    """How many operators of each type a file holds, and how many of them work on floats.

    Example:
        >>> operator_counts(FlatModel(tensors=(), operators=(), inputs=(), outputs=()))
        ()
    """
    found = ((operator.name, not _is_integer(operator, flat)) for operator in flat.operators)
    return counted(found, _CONVERSIONS)


def _also(flat: FlatModel) -> str:
    if any(
        _is_integer(operator, flat) for operator in flat.operators if operator_macs(operator, flat)
    ):
        return f"forbidden ones: {', '.join(forbidden_operators(flat)) or 'none'}"
    return "no weighted one reads and writes integers"


def _count(index: int, operator: Operator, flat: FlatModel) -> LayerCount:
    integer = _is_integer(operator, flat)
    return LayerCount(
        name=f"{index}: {flat.tensors[operator.outputs[0]].name.split('/')[-1]}",
        operation=operator.name,
        macs=operator_macs(operator, flat),
        integer=integer,
        reason="" if integer else _reason(operator, flat),
    )


def _reason(operator: Operator, flat: FlatModel) -> str:
    place = _WEIGHT_PLACE.get(operator.name)
    if place is not None and flat.tensors[operator.inputs[place]].dtype == "int8":
        return "dynamic range: int8 weights, and activations in float"
    return "it reads or writes floats"


def _is_integer(operator: Operator, flat: FlatModel) -> bool:
    touched = [flat.tensors[i].dtype for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return all(dtype in _INTEGERS for dtype in touched)


def forbidden_operators(flat: FlatModel) -> tuple[str, ...]:
    """Operators that a fully integer file with static shapes does not hold, each once.

    Custom and TensorFlow (Flex) operators are among them; they have names of their own. What turns
    inputs that are not int8 into int8, and outputs back, is no such operator.

    Example:
        >>> forbidden_operators(FlatModel(tensors=(), operators=(), inputs=(), outputs=()))
        ()
    """
    found = {op.name for op in flat.operators if not _is_at_an_end(op, flat)}
    foreign = {name for name in found if name.startswith("Flex") or not name.isupper()}
    return tuple(sorted(found & _FORBIDDEN | foreign))


def _is_at_an_end(operator: Operator, flat: FlatModel) -> bool:
    """Whether it changes the type of what the file takes or gives."""
    if operator.name not in {"QUANTIZE", "DEQUANTIZE"}:
        return False
    taken, given = operator.inputs[0], operator.outputs[0]
    types = {flat.tensors[taken].dtype, flat.tensors[given].dtype}
    return types != {"int8"} and (taken in flat.inputs or given in flat.outputs)


def operator_macs(operator: Operator, flat: FlatModel) -> int:
    """Multiply-accumulates of one run of an operator; 0 for those that have none."""
    if operator.name == "BATCH_MATMUL":
        inner = flat.tensors[operator.inputs[0]].shape[-1]
        return int(np.prod(flat.tensors[operator.outputs[0]].shape)) * inner
    if operator.name not in _WEIGHT_PLACE:
        return 0
    weight = flat.tensors[operator.inputs[_WEIGHT_PLACE[operator.name]]].shape
    output = int(np.prod(flat.tensors[operator.outputs[0]].shape))
    if operator.name == "DEPTHWISE_CONV_2D":
        return output * weight[1] * weight[2]
    if operator.name == "TRANSPOSE_CONV":
        return int(np.prod(flat.tensors[operator.inputs[2]].shape)) * int(np.prod(weight[:3]))
    return output * int(np.prod(weight[1:]))
