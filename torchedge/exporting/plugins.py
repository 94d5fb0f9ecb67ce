"""Targets and runners, found by entry points: third parties add theirs the way torchedge does."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from torchedge.bench.session import Runner
from torchedge.errors import UnknownNameError
from torchedge.exporting.artifact import Format
from torchedge.exporting.target import Target
from torchedge.exporting.unknown_targets import hint_for
from torchedge.kinds import kinds_checked

__all__ = [
    "RUNNERS_GROUP",
    "TARGETS_GROUP",
    "known_runner",
    "runner",
    "target",
    "target_names",
    "target_of",
    "targets",
]

TARGETS_GROUP = "torchedge.targets"
RUNNERS_GROUP = "torchedge.runners"


def _entries(group: str) -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def target_names() -> tuple[str, ...]:
    """Every name that ``--target`` takes, aliases included, sorted; nothing is imported."""
    return tuple(sorted(_entries(TARGETS_GROUP)))


def targets() -> dict[str, Target]:
    """Every target by name; an alias is a second name of the same target."""
    return {name: target(name) for name in target_names()}


def target(name: str) -> Target:
    """The target of that name.

    Raises:
        UnknownNameError: There is none; the text says what to take instead.

    Example:
        >>> target("jetson").name
        'jetson-orin-nano'
    """
    entries = _entries(TARGETS_GROUP)
    if not isinstance(name, str):
        raise UnknownNameError(
            f"a target is named by text, and this is a {type(name).__name__}; write "
            "target('jetson'), for example."
        )
    if entries and name not in entries:
        hint = hint_for(name, entries)
        raise UnknownNameError(
            f"there is no target '{name}'; {hint} (torchedge targets lists them)."
        )
    found = _find(TARGETS_GROUP, name, "target", "torchedge targets lists them")
    assert isinstance(found, Target), f"the entry point '{name}' is no Target"
    return found


def target_of(given: Target | str) -> Target:
    """A target, or the one of that name.

    Raises:
        UnknownNameError: There is none.

    Example:
        >>> target_of("jetson") is target_of(target("jetson"))
        True
    """
    return given if isinstance(given, Target) else target(given)


@kinds_checked()
def runner(format: Format) -> Runner:
    """The runner that opens artefacts of a format.

    Raises:
        UnknownNameError: No installed package runs that format.
    """
    kind = _find(RUNNERS_GROUP, format, "runner for the format", "install the package that runs it")
    assert isinstance(kind, type)
    made: Runner = kind()
    return made


def known_runner(format: Format) -> Runner | None:
    """The runner that opens artefacts of a format, or ``None`` where no installed package has one.

    Example:
        >>> known_runner(Format("punched-cards")) is None
        True
    """
    return runner(format) if format in _entries(RUNNERS_GROUP) else None


def _find(group: str, name: str, what: str, way_out: str) -> object:
    entries = _entries(group)
    if name in entries:
        return entries[name].load()
    if not entries:
        raise UnknownNameError(
            f"no {what} is installed at all; run pip install -e . in the repository, or "
            "pip install torchedge."
        )
    known = ", ".join(sorted(entries))
    raise UnknownNameError(f"there is no {what} '{name}'; there are {known} ({way_out}).")
