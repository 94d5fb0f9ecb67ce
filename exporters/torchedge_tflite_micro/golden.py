"""A few real inputs with the integers that the device must answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import VerificationError
from torchedge.exporting.artifact import Artifact
from torchedge.exporting.samples import Samples
from torchedge_tflite.flatbuffer import FlatModel
from torchedge_tflite.simulator import Simulator, unknown_operators
from torchedge_tflite_micro.runtime import Interpreter
from torchedge_tflite_micro.session import input_ports

__all__ = ["Golden", "golden_runs"]

_BYTES_LIMIT = 64 * 1024


@final
@dataclass(frozen=True, kw_only=True)
class Golden:
    """One run of the network on the device.

    Args:
        inputs: int8, all inputs one after another, as the file has them.
        outputs: Likewise, from tflite-micro.
    """

    inputs: Array
    outputs: Array

    @property
    def bytes(self) -> int:
        """What it takes of the flash."""
        return int(self.inputs.nbytes + self.outputs.nbytes)


def golden_runs(
    data: bytes, flat: FlatModel, source: Artifact, samples: Samples, *, count: int, arena: int
) -> tuple[tuple[Golden, ...], str]:
    """The first samples as the device must answer them, and what the simulator says about them.

    Args:
        data: The .tflite file.
        flat: The same, read.
        source: Its artefact.
        samples: Real data.
        count: Runs to keep; fewer where they would take more than 64 KiB, but at least one.
        arena: Bytes with which tflite-micro runs it.

    Raises:
        VerificationError: The integer simulator answers otherwise than tflite-micro.
    """
    ports = input_ports(flat, source.inputs)
    interpreter = Interpreter(data, arena_bytes=arena, outputs=len(flat.outputs))
    unknown = unknown_operators(flat)
    simulator = None if unknown else Simulator(flat)
    runs: list[Golden] = []
    for inputs in samples.batches(source.inputs[0].shape[0]):
        pairs = sorted(zip(ports, inputs, strict=True), key=lambda pair: pair[0].index)
        stored = [port.stored(x) for port, x in pairs]
        answers = interpreter(*stored)
        if simulator is not None:
            _require_equal(answers, simulator(*stored))
        runs.append(Golden(inputs=_joined(stored), outputs=_joined(answers)))
        if len(runs) >= count or sum(run.bytes for run in runs) >= _BYTES_LIMIT:
            break
    said = f"not run: it does not know {', '.join(unknown)}"
    return tuple(runs), said if unknown else f"equal to tflite-micro on {len(runs)} samples"


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays])


def _require_equal(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    differing = sum(int(np.count_nonzero(a != b)) for a, b in zip(found, wanted, strict=True))
    if differing:
        raise VerificationError(
            f"tflite-micro and the integer simulator differ in {differing} outputs of a sample, so "
            "one of them is wrong about this network; please report the model."
        )
