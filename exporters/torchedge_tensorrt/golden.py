"""Samples that travel in a bundle, with the answers that the engine must come near to.

Plain little-endian float32, so that a board needs no numpy to read them.
"""

from pathlib import Path

import numpy as np

from torchedge.bench.session import Array
from torchedge.exporting.samples import Samples

__all__ = ["MOST_BATCHES", "write_golden"]

MOST_BATCHES = 8


def write_golden(
    samples: Samples, batch_size: int, plain: Path, folder: Path, *, quantized: bool
) -> int:
    """Write ``golden_input_N.bin``, and the answers of each precision that the bundle can build.

    ``golden_int8_output_N.bin`` is what the fake-quantised PyTorch model answered,
    ``golden_fp16_output_N.bin`` what ONNX Runtime computes with the float network.

    Args:
        samples: Inputs and PyTorch's answers.
        batch_size: Of the network.
        plain: The float network.
        folder: Where the files go.
        quantized: Whether the answers are those of a quantised network.

    Returns:
        Number of batches.
    """
    count = min(MOST_BATCHES, len(samples.inputs[0]) // batch_size)
    kept = count * batch_size
    inputs = tuple(array[:kept] for array in samples.inputs)
    _write(folder, "golden_input", inputs)
    if quantized:
        _write(folder, "golden_int8_output", tuple(a[:kept] for a in samples.expected))
    _write(folder, "golden_fp16_output", _answers(plain, inputs, batch_size))
    return count


def _answers(plain: Path, inputs: tuple[Array, ...], batch_size: int) -> tuple[Array, ...]:
    from torchedge.exporting.samples import batches
    from torchedge_onnx.session import open_model

    session = open_model(plain)
    answers = [session(*batch) for batch in batches(inputs, batch_size)]
    columns = zip(*answers, strict=True)
    return tuple(np.concatenate([np.atleast_1d(x) for x in column]) for column in columns)


def _write(folder: Path, prefix: str, arrays: tuple[Array, ...]) -> None:
    for index, array in enumerate(arrays):
        path = folder / f"{prefix}_{index}.bin"
        path.write_bytes(np.ascontiguousarray(array, dtype="<f4").tobytes())
