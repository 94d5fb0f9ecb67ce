"""Putting the trained numbers into a .tflite file, byte by byte in their places.

The layout of the file stays as TensorFlow wrote it, its alignment included.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import VerificationError
from torchedge_tflite.flatbuffer import schema
from torchedge_tflite.matching import Expected

__all__ = ["with_numbers"]


def with_numbers(data: bytes, expected: Sequence[Expected]) -> bytes:
    """A copy of a file with other scales, zero points and integers.

    Args:
        data: The file.
        expected: What its tensors must hold.

    Raises:
        VerificationError: A tensor has room for another number of scales or integers.
        MissingDependencyError: ai-edge-litert is not installed.
    """
    copy = bytearray(data)
    model = schema().Model.GetRootAs(copy, 0)
    graph = model.Subgraphs(0)
    for item in expected:
        tensor = graph.Tensors(item.tensor)
        numbers = tensor.Quantization()
        _put(numbers.ScaleAsNumpy(), item.scales, "scales", item)
        _put(numbers.ZeroPointAsNumpy(), item.zero_points, "zero points", item)
        if item.values is not None:
            stored = model.Buffers(tensor.Buffer()).DataAsNumpy()
            little = np.ascontiguousarray(item.values).view(np.uint8)
            _put(stored, little.ravel(), "bytes", item)
    return bytes(copy)


def _put(place: Any, values: Array, what: str, item: Expected) -> None:  # noqa: ANN401
    """Overwrite what a view of the file shows."""
    room = 0 if isinstance(place, int) else len(place)
    if room != len(values):
        raise VerificationError(
            f"the .tflite file has room for {room} {what} of '{item.origin}', training has "
            f"{len(values)}; please report the model."
        )
    place[:] = values.astype(place.dtype)
