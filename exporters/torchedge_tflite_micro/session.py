"""Opening a .tflite file in TensorFlow Lite Micro; its layout and its integers stay inside."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from torchedge.bench.session import Array, Session
from torchedge.errors import ArtifactError
from torchedge.exporting.artifact import TensorSpec
from torchedge.reading.files import read_bounded
from torchedge_tflite.flatbuffer import FlatModel
from torchedge_tflite.layout import tflite_axes
from torchedge_tflite.probe import require_survived
from torchedge_tflite.session import Port
from torchedge_tflite.soundness import require_sound
from torchedge_tflite_micro.runtime import Interpreter

__all__ = ["input_ports", "open_micro", "output_ports"]

_MOST_BYTES = 2**28


def open_micro(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, arena_bytes: int
) -> Session:
    """A callable session of a .tflite file.

    Args:
        path: The file.
        inputs: In PyTorch's layout, in order.
        outputs: Likewise.
        arena_bytes: Size of the arena.

    Raises:
        ArtifactError: The runtime dies of the file, the arena is too small, or the file has other
            inputs and outputs.
        MissingDependencyError: tflite-micro or ai-edge-litert is not installed.
    """
    data = read_bounded(path, _MOST_BYTES)
    flat, _ = require_sound(data, f"'{path}'")
    require_survived(
        data,
        f"'{path}'",
        "micro",
        tensor_bytes=arena_bytes,
        arena=arena_bytes,
        inputs=len(flat.inputs),
        outputs=len(flat.outputs),
    )
    taken, given = input_ports(flat, inputs), output_ports(flat, outputs)
    interpreter = Interpreter(data, arena_bytes=arena_bytes, outputs=len(flat.outputs))

    def run(*arrays: Array) -> tuple[Array, ...]:
        placed = sorted(zip(taken, arrays, strict=True), key=lambda pair: pair[0].index)
        answers = interpreter(*(port.stored(array) for port, array in placed))
        return tuple(port.real(answers[port.index]) for port in given)

    return run


def input_ports(flat: FlatModel, specs: Sequence[TensorSpec]) -> tuple[Port, ...]:
    """How each input gets from PyTorch into the file; ``index`` is its place among the inputs.

    Raises:
        ArtifactError: The file has other inputs.
    """
    return _ports(flat, flat.inputs, specs)


def output_ports(flat: FlatModel, specs: Sequence[TensorSpec]) -> tuple[Port, ...]:
    """How each output gets back.

    Raises:
        ArtifactError: The file has other outputs.
    """
    return _ports(flat, flat.outputs, specs)


def _ports(flat: FlatModel, places: Sequence[int], specs: Sequence[TensorSpec]) -> tuple[Port, ...]:
    named = {spec.name: flat.signature.get(spec.name) for spec in specs}
    if set(named.values()) != set(places):
        raise ArtifactError(
            f"the .tflite file has {sorted(flat.signature)}, the manifest {sorted(named)}; "
            "export it again."
        )
    return tuple(_port(spec, flat, list(places)) for spec in specs)


def _port(spec: TensorSpec, flat: FlatModel, places: list[int]) -> Port:
    tensor = flat.tensors[flat.signature[spec.name]]
    return Port(
        index=places.index(tensor.index),
        axes=tflite_axes(spec.shape, tensor.shape),
        dtype=np.dtype(tensor.dtype),
        scale=np.float32(tensor.scales[0] if tensor.scales else 0),
        zero_point=tensor.zero_points[0] if tensor.zero_points else 0,
    )
