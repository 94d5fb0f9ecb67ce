"""A .tflite file's offsets, followed once with a budget before any library follows them.

A flatbuffer is tables that name each other by offsets. Reading one that leads outside ends in a
crash; one that leads to the same table a million times, in hours. Only the tables that a network of
this package has are known here: control flow, sparse tensors, and data in other files are refused.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

__all__ = ["require_structure"]

_Check: TypeAlias = Callable[["_Reader", int], None]

_MOST_TABLES = 200_000
_MOST_ELEMENTS = 4_000_000
_PLACE_OF_TYPE, _PLACE_OF_OPTIONS = 3, 4
# Options that hold arrays, by their number in the schema's union; of all others numbers only.
_ARRAYS_IN_OPTIONS: Mapping[int, tuple[int, ...]] = {17: (0,), 30: (0,)}
_REFUSED_OPTIONS = frozenset({3, 92, 93, 103, 111, 115})  # other graphs, arrays, state
_FULLY_CONNECTED, _FIRST_TABLE_OF_IT = 8, 5


@final
@dataclass
class _Reader:
    """Bytes, and how much of them may still be visited."""

    data: bytes
    tables: int = 0
    elements: int = 0

    def number(self, form: str, at: int) -> int:
        if at < 0 or at + struct.calcsize(form) > len(self.data):
            raise ValueError(f"an offset leads to byte {at:,} of {len(self.data):,}")
        return int(struct.unpack_from(form, self.data, at)[0])

    def follow(self, at: int) -> int:
        return at + self.number("<I", at)

    def vector(self, at: int, item_bytes: int) -> tuple[int, int]:
        """Place of the first item, and how many there are."""
        count = self.number("<I", at)
        if count * item_bytes > len(self.data) - at - 4:
            raise ValueError(f"an array of {count:,} at byte {at:,} of {len(self.data):,}")
        return at + 4, count


def require_structure(data: bytes) -> None:
    """Follow every offset of a file.

    Raises:
        ValueError: One leads outside, or there are more tables or numbers than in any network, or
            the file holds what this package never writes.

    Example:
        >>> require_structure(bytes(8))
        Traceback (most recent call last):
        ValueError: a table at byte 0 has its description at byte 0
    """
    reader = _Reader(data)
    _table(reader, reader.follow(0), "Model")


def _fields(reader: _Reader, at: int) -> dict[int, int]:
    """Where each field of a table is, by its number."""
    reader.tables += 1
    if reader.tables > _MOST_TABLES:
        raise ValueError(f"more than {_MOST_TABLES:,} tables")
    described = at - reader.number("<i", at)
    size, own = reader.number("<H", described), reader.number("<H", described + 2)
    if size < 4 or size % 2 or own < 4 or described == at:
        raise ValueError(f"a table at byte {at:,} has its description at byte {described:,}")
    if at + own > len(reader.data) or described + size > len(reader.data):
        raise ValueError(f"a table at byte {at:,} ends behind the file")
    places = [reader.number("<H", described + 4 + 2 * i) for i in range((size - 4) // 2)]
    if any(place >= own for place in places):
        raise ValueError(f"a table at byte {at:,} has a field outside")
    return {index: at + place for index, place in enumerate(places) if place}


def _table(reader: _Reader, at: int, kind: str) -> None:
    fields = _fields(reader, at)
    known = _TABLES[kind]
    for index, place in fields.items():
        if index not in known:
            raise ValueError(f"{kind} has the field {index}, which this package never writes")
        known[index](reader, place)
    if kind == "Operator":
        _options(reader, fields)


def _options(reader: _Reader, fields: Mapping[int, int]) -> None:
    kind = reader.number("<B", fields[_PLACE_OF_TYPE]) if _PLACE_OF_TYPE in fields else 0
    if kind in _REFUSED_OPTIONS:
        raise ValueError(f"an operator has options of the kind {kind}")
    if _PLACE_OF_OPTIONS in fields and kind:
        own = _fields(reader, reader.follow(fields[_PLACE_OF_OPTIONS]))
        if kind == _FULLY_CONNECTED and max(own, default=0) >= _FIRST_TABLE_OF_IT:
            raise ValueError("a fully connected layer has tables of its own")
        for index in _ARRAYS_IN_OPTIONS.get(kind, ()):
            if index in own:
                _numbers(4)(reader, own[index])


def _number(form: str) -> _Check:
    def check(reader: _Reader, at: int) -> None:
        reader.number(form, at)

    return check


def _numbers(item_bytes: int, *, counted: bool = True) -> _Check:
    def check(reader: _Reader, at: int) -> None:
        _, count = reader.vector(reader.follow(at), item_bytes)
        reader.elements += count if counted else 1
        if reader.elements > _MOST_ELEMENTS:
            raise ValueError(f"more than {_MOST_ELEMENTS:,} numbers in its tables")

    return check


def _text(reader: _Reader, at: int) -> None:
    begin, count = reader.vector(reader.follow(at), 1)
    reader.elements += count
    text = reader.data[begin : begin + count]
    if reader.data[begin + count : begin + count + 1] != b"\0" or b"\0" in text:
        raise ValueError(f"a name at byte {begin:,} does not end")
    text.decode()


def _each(kind: str) -> _Check:
    def check(reader: _Reader, at: int) -> None:
        begin, count = reader.vector(reader.follow(at), 4)
        for index in range(count):
            _table(reader, reader.follow(begin + 4 * index), kind)

    return check


def _one(kind: str) -> _Check:
    def check(reader: _Reader, at: int) -> None:
        _table(reader, reader.follow(at), kind)

    return check


def _nothing(form: str) -> _Check:
    """A field that may be written, but only as zero."""

    def check(reader: _Reader, at: int) -> None:
        if reader.number(form, at):
            raise ValueError("it keeps data outside of itself, or is sparse")

    return check


def _offset(reader: _Reader, at: int) -> None:
    reader.number("<I", at)  # followed by _options, which knows what it leads to


def _no_custom(reader: _Reader, at: int) -> None:
    if reader.vector(reader.follow(at), 1)[1]:
        raise ValueError("an operator has options of its own")


_TABLES: Mapping[str, Mapping[int, _Check]] = {
    "Model": {
        0: _number("<I"),
        1: _each("OperatorCode"),
        2: _each("SubGraph"),
        3: _text,
        4: _each("Buffer"),
        5: _numbers(4),
        6: _each("Metadata"),
        7: _each("Signature"),
    },
    "OperatorCode": {0: _number("<b"), 1: _text, 2: _number("<i"), 3: _number("<i")},
    "SubGraph": {
        0: _each("Tensor"),
        1: _numbers(4),
        2: _numbers(4),
        3: _each("Operator"),
        4: _text,
        5: _number("<i"),
    },
    "Tensor": {
        0: _numbers(4),
        1: _number("<b"),
        2: _number("<I"),
        3: _text,
        4: _one("Quantization"),
        5: _number("<B"),
        7: _numbers(4),
        8: _number("<B"),
        10: _nothing("<I"),
    },
    "Quantization": {
        0: _numbers(4),
        1: _numbers(4),
        2: _numbers(4),
        3: _numbers(8),
        4: _nothing("<B"),
        6: _number("<i"),
    },
    "Operator": {
        0: _number("<I"),
        1: _numbers(4),
        2: _numbers(4),
        3: _number("<B"),
        4: _offset,
        5: _no_custom,
        6: _number("<b"),
        7: _numbers(1),
        8: _numbers(4),
        9: _nothing("<Q"),
        10: _nothing("<Q"),
        11: _nothing("<B"),
        13: _number("<i"),
    },
    "Buffer": {0: _numbers(1, counted=False), 1: _nothing("<Q"), 2: _nothing("<Q")},
    "Metadata": {0: _text, 1: _number("<I")},
    "Signature": {0: _each("TensorMap"), 1: _each("TensorMap"), 2: _text, 4: _number("<I")},
    "TensorMap": {0: _text, 1: _number("<I")},
}
