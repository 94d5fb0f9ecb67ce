"""How much memory running a program may take, before any of it is allocated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

__all__ = ["Value", "allowed_bytes", "most_live_bytes"]

_FREE_BYTES = 2 * 2**30
_TIMES_THE_FILE = 4


def allowed_bytes(file_bytes: int) -> int:
    """What all values of a network that live at one time may take.

    Two GiB, and four times the file. Networks for edge devices take a fraction: 64 channels of a
    picture of 1920 × 1080 in float32 and as many that are computed from them take 1.1 GB.

    Example:
        >>> f"{allowed_bytes(0):,}"
        '2,147,483,648'
    """
    return _FREE_BYTES + _TIMES_THE_FILE * file_bytes


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """A piece of memory that one step makes.

    Args:
        name: Values of one name share their memory.
        bytes: How much it is.
    """

    name: str
    bytes: int


@final
@dataclass
class _Life:
    bytes: int = 0
    born: int = 0
    dies: int = field(default=0)


def most_live_bytes(
    made: Sequence[Iterable[Value]], read: Sequence[Iterable[str]], kept: Iterable[str] = ()
) -> int:
    """The most that lives at one time, if everything goes after its last reader.

    Args:
        made: What each step makes.
        read: Names of what each step reads, one entry for each step.
        kept: Names of what lives to the end.

    Example:
        >>> made = [[Value(name="a", bytes=4)], [Value(name="b", bytes=2)], []]
        >>> most_live_bytes(made, [[], ["a"], ["b"]])
        6
    """
    lives: dict[str, _Life] = {}
    for step, (values, names) in enumerate(zip(made, read, strict=True)):
        for value in values:
            life = lives.setdefault(value.name, _Life(born=step))
            life.bytes, life.dies = max(life.bytes, value.bytes), step
        for name in names:
            if name in lives:
                lives[name].dies = step
    for name in kept:
        if name in lives:
            lives[name].dies = len(made)
    return _peak(lives, len(made))


def _peak(lives: Mapping[str, _Life], steps: int) -> int:
    changes = [0] * (steps + 2)
    for life in lives.values():
        changes[life.born] += life.bytes
        changes[life.dies + 1] -= life.bytes
    most = now = 0
    for change in changes:
        now += change
        most = max(most, now)
    return most
