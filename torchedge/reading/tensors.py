"""Safetensors files, whose header is held against their bytes before anything is made of them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchedge.errors import ArtifactError
from torchedge.reading.files import read_bounded
from torchedge.reading.names import one_line, what_is_wrong_with_text
from torchedge.reading.plain import as_mapping, as_text, as_whole, each
from torchedge.reading.strict_json import strict_json

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["read_arrays", "read_tensors"]

_MOST_BYTES = 8 * 2**30
_MOST_TENSORS = 100_000
_MOST_AXES = 64
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_ITEM_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "U32": 4, "I32": 4, "F32": 4},
    **{"U64": 8, "I64": 8, "F64": 8},
}
_TORCH_ONLY = {"BF16": 2}


def read_arrays(path: Path) -> "dict[str, np.ndarray[Any, Any]]":
    """Every array of a file, by its name.

    Raises:
        ArtifactError: It is no safetensors file of dense arrays, or its header and its bytes do not
            fit each other.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = _checked_bytes(path, _ITEM_BYTES)
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Every tensor of a file, by its name.

    Raises:
        ArtifactError: As :func:`read_arrays`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _checked_bytes(path, {**_ITEM_BYTES, **_TORCH_ONLY})
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"'{path}' is no safetensors file ({one_line(error)}); export again.")


def _checked_bytes(path: Path, item_bytes: Mapping[str, int]) -> bytes:
    data = read_bounded(path, _MOST_BYTES)
    try:
        header, begins = _header(data)
        _require_full(header, len(data) - begins, item_bytes)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return data


def _header(data: bytes) -> tuple[Mapping[str, Any], int]:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > len(data) - _LENGTH_BYTES:
        raise ValueError(f"{len(data):,} bytes, with a header of {length:,}")
    ends = _LENGTH_BYTES + length
    header = dict(as_mapping(strict_json(data[_LENGTH_BYTES:ends])))
    for key, value in as_mapping(header.pop(_METADATA, {})).items():
        as_text(key), as_text(value)
    return header, ends


def _require_full(header: Mapping[str, Any], present: int, item_bytes: Mapping[str, int]) -> None:
    """Each tensor as long as its shape, one behind the other, and nothing beside them."""
    if len(header) > _MOST_TENSORS:
        raise ValueError(f"{len(header):,} tensors")
    places = []
    for name, described in header.items():
        if wrong := what_is_wrong_with_text(name):
            raise ValueError(f"the name of a tensor {wrong}")
        places.append(_place(name, as_mapping(described), item_bytes))
    ends = 0
    for begin, end in sorted(places):
        if begin != ends:
            raise ValueError(f"its tensors overlap or leave a gap at byte {ends:,}")
        ends = end
    if ends != present:
        raise ValueError(f"its tensors take {ends:,} bytes, and {present:,} are there")


def _place(
    name: str, described: Mapping[str, Any], item_bytes: Mapping[str, int]
) -> tuple[int, int]:
    dtype = as_text(described["dtype"])
    if dtype not in item_bytes:
        raise ValueError(f"'{name}' is of the number format {dtype[:20]!r}")
    shape = each(described["shape"], as_whole, most=_MOST_AXES)
    begin, end = each(described["data_offsets"], as_whole, most=2)
    if end - begin != math.prod(shape) * item_bytes[dtype]:
        raise ValueError(f"'{name}' of shape {list(shape)} has {end - begin:,} bytes")
    return begin, end
