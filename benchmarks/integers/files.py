"""Running any .tflite file of one input and one output, and what of its numbers is known."""

from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array, Session
from torchedge_tflite.flatbuffer import WEIGHT_INPUT, FlatModel, parse
from torchedge_tflite.layout import tflite_axes
from torchedge_tflite.qdq_reader import TrainedNumbers
from torchedge_tflite.session import Port

__all__ = ["Kept", "kept_numbers", "open_bytes"]


@final
@dataclass(frozen=True, kw_only=True)
class Kept:
    """How many of the trained numbers a file has anywhere in it.

    Args:
        activations: Pairs of scale and zero point ...
        of_activations: ... of so many different ones.
        weights: Scales of weights ...
        of_weights: ... of so many different ones.
    """

    activations: int
    of_activations: int
    weights: int
    of_weights: int


def kept_numbers(data: bytes, trained: TrainedNumbers) -> Kept:
    """Look for every trained scale, wherever it may be; no more than that can have been kept."""
    flat = parse(data)
    grids = {(np.float32(g.scale).item(), g.zero_point) for g in trained.activations.values()}
    found = {
        (np.float32(t.scales[0]).item(), t.zero_points[0])
        for t in flat.tensors
        if t.values is None and len(t.scales) == 1
    }
    wanted = {float(s) for layer in trained.layers for s in layer.scales.astype(np.float32)}
    return Kept(
        activations=len(grids & found),
        of_activations=len(grids),
        weights=len(wanted & _weight_scales(flat)),
        of_weights=len(wanted),
    )


def _weight_scales(flat: FlatModel) -> set[float]:
    places = (
        flat.tensors[operator.inputs[WEIGHT_INPUT[operator.name][0]]]
        for operator in flat.operators
        if operator.name in WEIGHT_INPUT
    )
    return {float(np.float32(scale)) for tensor in places for scale in tensor.scales}


def open_bytes(data: bytes, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> Session:
    """A session on XNNPACK, one thread, that takes and returns floats in PyTorch's layout.

    Args:
        data: The file.
        input_shape: In PyTorch's layout, with its batch of one.
        output_shape: Likewise.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    source, result = _port(taken, input_shape), _port(given, output_shape)

    def run(*arrays: Array) -> tuple[Array, ...]:
        interpreter.set_tensor(source.index, source.stored(arrays[0]))
        interpreter.invoke()
        return (result.real(interpreter.get_tensor(result.index)),)

    return run


def _port(detail: dict[str, object], shape: tuple[int, ...]) -> Port:
    scale, zero_point = detail["quantization"]  # type: ignore[misc]
    return Port(
        index=int(detail["index"]),  # type: ignore[call-overload]
        axes=tflite_axes(shape, [int(size) for size in detail["shape"]]),  # type: ignore[attr-defined]
        dtype=np.dtype(detail["dtype"]),  # type: ignore[call-overload]
        scale=np.float32(scale),
        zero_point=int(zero_point),
    )
