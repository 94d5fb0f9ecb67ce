"""Tensor by tensor: has each tensor of a .tflite file the numbers of the very tensor it came from?

Which tensor of the ONNX graph one came from is told by the integers that both hold when the same
sample runs through both files, never by scales. So scales that were swapped would show.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.exporting import Artifact
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_tflite.flatbuffer import (
    WEIGHT_INPUT,
    FlatModel,
    FlatTensor,
    Operator,
    parse,
    schema,
)
from torchedge_tflite.qdq_reader import Grid, Layer, TrainedNumbers
from torchedge_tflite.step import MODEL_FILE
from torchedge_tflite_micro.session import input_ports

__all__ = ["TensorCheck", "checked_tensors"]

# Two runtimes round differently here and there; integers of different tensors hardly correlate.
_ALIKE = 0.99
_LINE = "/factor"  # of an activation or a norm that is written as a line; nothing was trained
_KEEPS = frozenset(
    {"MAX_POOL_2D", "PAD", "PADV2", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "TRANSPOSE"}
)


@final
@dataclass(frozen=True, kw_only=True)
class TensorCheck:
    """One tensor of a file beside the one that it came from.

    Args:
        tensor: Its name in the file.
        origin: Of the ONNX graph; empty where nothing there holds the same integers.
        equal: Scales, as float32, zero points, and for constants the integers, are the same.
    """

    tensor: str
    origin: str
    equal: bool


def checked_tensors(
    onnx_artifact: Artifact, artifact: Artifact, sample: Array
) -> list[TensorCheck]:
    """Every quantised tensor of the file, constants included.

    Args:
        onnx_artifact: The graph with Q/DQ.
        artifact: The file that was made from it.
        sample: One input, in PyTorch's layout.

    Raises:
        ArtifactError: One of the files cannot be run.
    """
    from torchedge_onnx.census import read_model
    from torchedge_tflite.qdq_reader import read_trained

    trained = read_trained(read_model(onnx_artifact.file(ONNX_FILE)))
    data = artifact.file(MODEL_FILE).read_bytes()
    flat = parse(data)
    held = _graph_integers(onnx_artifact.file(ONNX_FILE), tuple(trained.activations), sample)
    checks = [
        _activation(tensor, values, flat, trained.activations, held)
        for tensor, values in _file_integers(data, flat, artifact, sample)
    ]
    return [*checks, *_constants(flat, trained)]


def _graph_integers(model: Path, names: tuple[str, ...], sample: Array) -> Mapping[str, Array]:
    from torchedge_onnx.census import read_model
    from torchedge_onnx.session import open_observed

    session = open_observed(read_model(model), names)
    return dict(zip(names, session(sample), strict=True))


def _file_integers(
    data: bytes, flat: FlatModel, artifact: Artifact, sample: Array
) -> Iterator[tuple[FlatTensor, Array]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=_returning_everything(data, flat))
    interpreter.allocate_tensors()
    (port,) = input_ports(flat, artifact.inputs)
    interpreter.set_tensor(flat.inputs[port.index], port.stored(sample))
    interpreter.invoke()
    for tensor in flat.tensors:
        if tensor.values is None and tensor.scales:
            yield tensor, interpreter.get_tensor(tensor.index)


def _returning_everything(data: bytes, flat: FlatModel) -> bytes:
    """The file with every result among its outputs, so that XNNPACK keeps them."""
    import flatbuffers

    model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
    graph = model.subgraphs[0]
    graph.outputs = [index for operator in flat.operators for index in operator.outputs]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _activation(
    tensor: FlatTensor,
    values: Array,
    flat: FlatModel,
    grids: Mapping[str, Grid],
    held: Mapping[str, Array],
) -> TensorCheck:
    likeness = {name: _likeness(values, other) for name, other in held.items()}
    origin = max(likeness, key=lambda name: likeness[name])
    if likeness[origin] < _ALIKE:
        return _moved(tensor, flat)
    near = [name for name, alike in likeness.items() if alike == likeness[origin]]
    numbers = (np.float32(tensor.scales[0]), tensor.zero_points[0])
    equal = any((np.float32(grids[n].scale), grids[n].zero_point) == numbers for n in near)
    return TensorCheck(tensor=tensor.name, origin=origin, equal=equal)


def _likeness(values: Array, other: Array) -> float:
    """Correlation of integers, with channels first or last, whichever is larger.

    It does not look at their scale. Where nothing varies, it is 1 for equal integers.
    """
    if values.size != other.size:
        return 0.0
    last = (0, *range(2, other.ndim), 1) if other.ndim > 2 else tuple(range(other.ndim))
    whole = values.astype(np.float64).ravel()
    laid_out = (other.astype(np.float64).ravel(), other.astype(np.float64).transpose(last).ravel())
    return max(_correlation(whole, o) for o in laid_out)


def _correlation(a: Array, b: Array) -> float:
    if np.array_equal(a, b):
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


def _moved(tensor: FlatTensor, flat: FlatModel) -> TensorCheck:
    """What only moves, pads or picks values: it has no twin in the graph, but its operand does."""
    maker = flat.producer(tensor.index)
    if maker is None or maker.name not in _KEEPS:
        return TensorCheck(tensor=tensor.name, origin="", equal=False)
    operand = flat.tensors[maker.inputs[0]]
    same = (operand.scales, operand.zero_points) == (tensor.scales, tensor.zero_points)
    return TensorCheck(tensor=tensor.name, origin=operand.name, equal=same)


def _constants(flat: FlatModel, trained: TrainedNumbers) -> Iterator[TensorCheck]:
    for operator in flat.operators:
        if operator.name in WEIGHT_INPUT:
            weight = flat.tensors[operator.inputs[WEIGHT_INPUT[operator.name][0]]]
            if weight.values is not None and not weight.name.endswith(_LINE):
                yield from _layer(operator, weight, flat, trained)


def _layer(
    operator: Operator, weight: FlatTensor, flat: FlatModel, trained: TrainedNumbers
) -> Iterator[TensorCheck]:
    axis = len(weight.shape) - 1 if operator.name == "DEPTHWISE_CONV_2D" else 0
    assert weight.values is not None
    rows = np.moveaxis(weight.values, axis, 0).reshape(weight.shape[axis], -1)
    places = operator.inputs[WEIGHT_INPUT[operator.name][1] :][:1]
    bias = flat.tensors[places[0]] if places and places[0] >= 0 else None
    same = [layer for layer in trained.layers if _same_rows(layer.weight, rows)]
    layer = next((layer for layer in same if _same_bias(bias, layer)), None)
    for tensor in filter(None, (weight, bias)):
        scales = np.array(tensor.scales, np.float32)
        wanted = None if layer is None else layer.scales if tensor is weight else layer.bias_scales
        equal = wanted is not None and np.array_equal(scales, wanted.astype(np.float32))
        zeros = not np.any(tensor.zero_points)
        yield TensorCheck(
            tensor=tensor.name, origin="" if layer is None else layer.name, equal=equal and zeros
        )


def _same_rows(a: Array, b: Array) -> bool:
    """Row by row the same integers; a linear layer may read what was flattened in another order."""
    return a.shape == b.shape and np.array_equal(np.sort(a, axis=1), np.sort(b, axis=1))


def _same_bias(bias: FlatTensor | None, layer: Layer) -> bool:
    if bias is None or bias.values is None:
        return layer.bias is None or not np.any(layer.bias)
    return layer.bias is not None and np.array_equal(bias.values.ravel(), layer.bias)
