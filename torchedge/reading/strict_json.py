"""JSON without the latitude that Python's reader allows."""

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["canonical_json", "strict_json"]

_MOST_BYTES = 16 * 2**20
_DEEPEST = 64
_MOST_DIGITS = 20
_INTEGERS = range(-(2**63), 2**64)


def strict_json(data: bytes | str, *, most_bytes: int = _MOST_BYTES) -> Any:  # noqa: ANN401
    """Parse JSON as RFC 8259 has it: finite numbers of at most 64 bits, each key once.

    Args:
        data: UTF-8.
        most_bytes: More is refused before it is parsed, since a tree takes ten times its text.

    Raises:
        ValueError: It is no such JSON, too long, or nested more than 64 deep.

    Example:
        >>> strict_json('{"a": NaN}')
        Traceback (most recent call last):
        ValueError: NaN is no number of JSON
    """
    if len(data) > most_bytes:
        raise ValueError(f"{len(data):,} bytes of JSON, more than {most_bytes:,}")
    text = data if isinstance(data, str) else data.decode()
    try:
        tree = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError:
        raise ValueError(f"nested more than {_DEEPEST} deep") from None
    _require_shallow(tree)
    if "\\u" in text:  # the only way to half of a character
        canonical_json(tree).encode()
    return tree


def canonical_json(tree: Any) -> str:  # noqa: ANN401
    """One text for each value: sorted keys, no spaces.

    Raises:
        ValueError: A number is not finite.

    Example:
        >>> canonical_json({"b": 1, "a": [0.5, None]})
        '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(
        tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _int(text: str) -> int:
    if len(text) > _MOST_DIGITS or int(text) not in _INTEGERS:
        raise ValueError(f"{text[:_MOST_DIGITS]}… is no integer of 64 bits")
    return int(text)


def _require_shallow(tree: object) -> None:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} deep")
        level = [child for node in level for child in _containers(node)]


def _containers(node: object) -> Iterator[object]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return (value for value in values if isinstance(value, dict | list))
