"""What a function is called with, checked in one place and refused in one line."""

from numbers import Integral, Real

from torchedge.errors import TorchedgeError, UsageError

__all__ = ["is_number", "is_whole", "require", "shown"]

_LONGEST = 60


def require(
    holds: bool, what: str, value: object, way_out: str, error: type[TorchedgeError] = UsageError
) -> None:
    """Refuse an argument that something does not hold for.

    Args:
        holds: Whether it may be.
        what: How to call it.
        value: As it was given.
        way_out: What to give instead.
        error: Raised where it does not hold.

    Raises:
        TorchedgeError: Of the kind that was asked for.

    Example:
        >>> require(True, "the seed", 5, "give a whole number")
    """
    if not holds:
        raise error(f"{what} is {shown(value)}; {way_out}.")


def shown(value: object) -> str:
    """A value in some letters, or its type where it has many.

    Example:
        >>> shown("many"), shown(list(range(1000)))
        ("'many'", 'a list')
    """
    text = repr(value)
    if "\n" in text or len(text) > _LONGEST:
        return f"a {type(value).__name__}"
    return text


def is_whole(value: object) -> bool:
    """Whether it is a whole number, and neither true nor false.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a real number, and neither true nor false.

    Example:
        >>> is_number(0.5), is_number("0.5"), is_number(True)
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)
