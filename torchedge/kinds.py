"""What a public function is called with, held against its own annotations before it begins.

One place for the commonest mistake: an argument of another kind, ``None`` for a folder or text for
a count, which would end somewhere inside in somebody else's words.
"""

import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from pathlib import Path
from typing import (
    Any,
    Literal,
    NewType,
    ParamSpec,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from torchedge.arguments import is_number, is_whole, require
from torchedge.errors import TorchedgeError, UnknownNameError, UsageError

__all__ = ["fields_checked", "kinds_checked"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_WORDS: Mapping[object, str] = {
    bool: "True or False",
    float: "a number",
    int: "a whole number",
    str: "text",
    bytes: "bytes",
    Path: "a path",
    types.NoneType: "None",
    "Module": "a network",
    "Tensor": "a tensor",
    "LightningModule": "a LightningModule",
}
_LISTS = (list, tuple, set, frozenset)


def kinds_checked(
    *leave: str, error: type[TorchedgeError] = UsageError
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Hold a function's arguments against its annotations, and refuse what is of another kind.

    Whole numbers do for numbers and lists for tuples; NaN is no number. What an annotation leaves
    open, ``object`` above all, is not looked at; neither are tensors' shapes.

    Args:
        leave: Arguments of which the function itself says more.
        error: Raised for an argument of another kind.

    Example:
        >>> @kinds_checked()
        ... def repeat(text: str, *, times: int = 2) -> str:
        ...     return text * times
        >>> repeat("ab"), repeat("ab", times=1)
        ('abab', 'ab')
        >>> repeat("ab", times=None)
        Traceback (most recent call last):
        torchedge.errors.UsageError: times is None; give a whole number.
    """

    def decorated(call: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(call)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            _require_kinds(call, args, kwargs, leave, error)
            return call(*args, **kwargs)

        return checked

    return decorated


def fields_checked(
    instance: Any,  # noqa: ANN401 - a dataclass
    *leave: str,
    error: type[TorchedgeError] = UsageError,
) -> None:
    """The same for the fields of a dataclass, of its ``__post_init__``.

    Args:
        instance: The dataclass.
        leave: Fields of which it says more itself.
        error: Raised for a field of another kind.

    Raises:
        TorchedgeError: A field is of another kind.
    """
    hints = _hints(cast("Any", type(instance)))
    for field in fields(instance):
        if field.name not in leave:
            _require_kind(field.name, getattr(instance, field.name), hints[field.name], error)


def _require_kinds(
    call: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    leave: Collection[str],
    error: type[TorchedgeError],
) -> None:
    try:
        given = _signature(call).bind(*args, **kwargs).arguments
    except TypeError:
        return  # one is missing or too many: the call itself says so, as Python does
    for name, hint in _hints(call).items():
        if name in given and name not in leave:
            _require_kind(name, given[name], hint, error)


def _require_kind(name: str, value: object, hint: object, error: type[TorchedgeError]) -> None:
    if _is_of(value, hint):
        return
    is_name = isinstance(value, str) and any(get_origin(h) is Literal for h in _choices(hint))
    way_out = f"give {_words(hint)}"
    require(False, name, value, way_out, UnknownNameError if is_name else error)


@cache
def _signature(call: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(call)


@cache
def _hints(owner: Any) -> Mapping[str, object]:  # noqa: ANN401 - a function or a class
    return get_type_hints(owner)


def _choices(hint: object) -> tuple[object, ...]:
    """What a union consists of; else the annotation alone."""
    if get_origin(hint) in {Union, types.UnionType}:
        return get_args(hint)
    return (hint,)


def _is_of(value: object, hint: object) -> bool:
    return any(_is_one(value, choice) for choice in _choices(hint))


def _is_one(value: object, hint: object) -> bool:
    if hint in (bool, int, float):
        simple = {bool: lambda v: isinstance(v, bool), int: is_whole, float: _is_real}
        return bool(simple[cast("type", hint)](value))
    if isinstance(hint, NewType):
        return _is_one(value, hint.__supertype__)
    origin = get_origin(hint)
    if origin is Literal:
        return isinstance(value, str | int | None) and value in get_args(hint)
    if origin is not None:
        return _is_generic(value, origin, get_args(hint))
    if getattr(hint, "_is_protocol", False):
        return _has_methods(value, cast("type", hint))
    if isinstance(hint, type) and not is_typeddict(hint):
        return isinstance(value, hint)
    return True


def _is_real(value: object) -> bool:
    return is_number(value) and value == value  # NaN is unequal to itself, and decides nothing


def _is_generic(value: object, origin: Any, inside: tuple[object, ...]) -> bool:  # noqa: ANN401
    if origin is Callable:
        return callable(value)
    if not isinstance(origin, type):
        return True
    if origin in {Sequence, Collection, Iterable} and isinstance(value, str | bytes):
        return False
    if not isinstance(value, (tuple, list) if origin is tuple else origin):
        return False
    return _holds(value, inside, pairs=issubclass(origin, Mapping))


def _holds(value: object, inside: tuple[object, ...], *, pairs: bool) -> bool:
    """Whether what is in a list or a dictionary is of the right kind, too."""
    if pairs and isinstance(value, dict) and len(inside) == 2:
        return all(_is_of(k, inside[0]) and _is_of(v, inside[1]) for k, v in value.items())
    if not isinstance(value, _LISTS) or not inside:
        return True
    if len(inside) > 1 and inside[1] is not Ellipsis:
        return len(value) == len(inside) and all(map(_is_of, value, inside))
    return all(_is_of(entry, inside[0]) for entry in value)


def _has_methods(value: object, protocol: type) -> bool:
    named = [n for n, v in vars(protocol).items() if callable(v) and not n.startswith("_")]
    special = [n for n in ("__call__", "__getitem__", "__len__") if n in vars(protocol)]
    is_instance = bool(special) or not isinstance(value, type)
    return is_instance and all(hasattr(value, name) for name in (*named, *special))


def _words(hint: object) -> str:
    """What to give, as one says it."""
    found = [_word(choice) for choice in _choices(hint)]
    return " or ".join(dict.fromkeys(found))


def _word(hint: object) -> str:
    origin, name = get_origin(hint), getattr(hint, "__name__", "")
    known = _WORDS.get(hint) or _WORDS.get(name)
    if known and origin is None:
        return known
    if origin is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if origin is Callable or "__call__" in vars(hint if isinstance(hint, type) else object):
        return "a function" if origin is Callable or _is_protocol(hint) else _called(name)
    if origin is type:
        return "a class"
    if origin is not None:
        return _word_of_many(origin, get_args(hint))
    if isinstance(hint, NewType):
        return _word(hint.__supertype__)
    return _called(name)


def _is_protocol(hint: object) -> bool:
    return bool(getattr(hint, "_is_protocol", False))


def _word_of_many(origin: Any, inside: tuple[object, ...]) -> str:  # noqa: ANN401
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a dictionary, from {_words(inside[0])} to {_words(inside[1])}"
    if len(inside) > 1 and inside[1] is not Ellipsis:
        return f"({', '.join(map(_words, inside))})"
    return f"a list or tuple, each {_words(inside[0])}" if inside else "a list or tuple"


def _called(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"
