"""Taking values out of parsed JSON without guessing what was meant."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["as_list", "as_mapping", "as_number", "as_sha256", "as_text", "as_whole", "each"]

_T = TypeVar("_T")
_HEX = frozenset("0123456789abcdef")
_SHA256_LENGTH = 64


def as_text(value: object) -> str:
    """A string, and nothing that could be made one.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is no text")
    return value


def as_whole(value: object, *, least: int = 0, most: int = 2**53) -> int:
    """An integer between two others; ``True`` is none, nor is ``3.0``.

    Raises:
        TypeError: It is no integer.
        ValueError: It is outside.

    Example:
        >>> as_whole(True)
        Traceback (most recent call last):
        TypeError: True is no whole number
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is no whole number")
    if not least <= value <= most:
        raise ValueError(f"{value} is outside {least:,}…{most:,}")
    return value


def as_number(value: object) -> float:
    """A number, as a float.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is no number")
    return float(value)


def as_sha256(value: object) -> str:
    """Sixty-four hexadecimal digits.

    Raises:
        TypeError: It is no text.
        ValueError: It is another one.
    """
    text = as_text(value)
    if len(text) != _SHA256_LENGTH or not set(text) <= _HEX:
        raise ValueError(f"{_shown(text)} is no SHA-256")
    return text


def as_mapping(value: object) -> Mapping[str, Any]:
    """An object of JSON.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, dict):
        raise TypeError(f"{_shown(value)} is no object")
    return value


def as_list(value: object) -> Sequence[Any]:
    """An array of JSON, or what becomes one when it is written.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, list | tuple):
        raise TypeError(f"{_shown(value)} is no array")
    return value


def each(values: object, read: Callable[[object], _T], *, most: int = 100_000) -> tuple[_T, ...]:
    """Every entry of an array, read by a function.

    Raises:
        TypeError: It is no array, or as the function raises it.
        ValueError: It has more entries than ``most``.

    Example:
        >>> each(["a", "b"], as_text)
        ('a', 'b')
    """
    found = as_list(values)
    if len(found) > most:
        raise ValueError(f"{len(found):,} entries, more than {most:,}")
    return tuple(read(value) for value in found)


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
