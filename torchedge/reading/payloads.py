"""Weights of an archive: what its JSON declares of each, against the bytes that are there."""

from collections.abc import Iterator, Mapping
from typing import Any

from torchedge.reading.plain import as_list, as_mapping, as_whole

__all__ = ["require_payloads"]

_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 9: 4, 10: 8, 11: 16, 12: 1, 13: 2}
_STRIDED = 7
_MOST_AXES = 64


def require_payloads(config: object, folder: str, members: Mapping[str, bytes]) -> None:
    """Refuse a tensor that is larger than its member, or has none.

    Args:
        config: The JSON beside the members.
        folder: Where they are.
        members: Everything that the archive holds.

    Raises:
        ValueError: It is so, or the tensor is of another kind than a dense one.
        TypeError: A value is of another type.
        KeyError: One is missing.
    """
    for name, payload in as_mapping(as_mapping(config)["config"]).items():
        described = as_mapping(payload)
        path = f"{folder}/{described['path_name']}"
        if path not in members:
            raise ValueError(f"the tensor '{name}' has no member '{path}'")
        _require_present(name, as_mapping(described["tensor_meta"]), len(members[path]))


def _require_present(name: str, described: Mapping[str, Any], present: int) -> None:
    dtype, layout = described["dtype"], described["layout"]
    if dtype not in _ITEM_BYTES or layout != _STRIDED or isinstance(dtype, bool):
        raise ValueError(f"the tensor '{name}' is not dense, or of an unknown number format")
    sizes, strides = tuple(_whole(described["sizes"])), tuple(_whole(described["strides"]))
    (offset,) = _whole([described["storage_offset"]])
    if len(sizes) != len(strides) or len(sizes) > _MOST_AXES:
        raise ValueError(f"the tensor '{name}' has {len(sizes)} sizes and {len(strides)} strides")
    if 0 in sizes:
        return
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    if (last + 1) * _ITEM_BYTES[dtype] > present:
        raise ValueError(
            f"the tensor '{name}' is declared as {list(sizes)}, which takes "
            f"{(last + 1) * _ITEM_BYTES[dtype]:,} bytes, and {present:,} are there"
        )


def _whole(values: object) -> Iterator[int]:
    return (as_whole(as_mapping(value)["as_int"]) for value in as_list(values))
