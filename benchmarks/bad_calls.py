"""Calls that people make every day or get wrong: each works, or ends in one line of ours.

    python -m benchmarks.bad_calls [WORD ...] [--all]

Every call of ``benchmarks/calls`` is made in this process, and every argument of every public call
replaced by what is of another kind; with words, those whose names have one of them. What is refused
must be a ``TorchedgeError`` of one line that says what to do, and a command must end with 1 or 2
and one such line. The table has what is raw; with ``--all``, each. Ends with 1 where a call is raw.
Written to runs/bad_calls.json as well.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, final

import cyclopts

from benchmarks.calls import arguments, commands, kinds, pruning_and_saving, quantizing
from benchmarks.calls.commands import Words
from benchmarks.calls.scene import Scene
from torchedge.cli import main as torchedge_main
from torchedge.errors import TorchedgeError

__all__ = ["NAMES", "Outcome", "main", "outcome", "outcomes_of_kinds"]

Result: TypeAlias = Literal["works", "refused", "RAW"]
_CALLS = {**quantizing.CALLS, **pruning_and_saving.CALLS, **arguments.CALLS}
_COMMANDS = {f"torchedge {name}": words for name, words in commands.COMMANDS.items()}
NAMES = (*_CALLS, *_COMMANDS)
_LONGEST = 600  # letters of a line that somebody reads


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended.

    Args:
        name: Of the call.
        result: ``RAW`` is neither right nor refused in one line.
        text: What was said.
        seconds: How long it took.
    """

    name: str
    result: Result
    text: str = ""
    seconds: float = 0.0


def outcome(name: str, scene: Scene) -> Outcome:
    """Make a call and see."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _CALLS.get(name)
        if found:
            return _called(name, partial(found, scene))
        return _typed(name, _COMMANDS[name], scene)


def outcomes_of_kinds(
    name: str, scene: Scene, wrong: Mapping[str, object] = kinds.WRONG
) -> Iterator[Outcome]:
    """Make one public call with every argument replaced by every wrong value."""
    with warnings.catch_warnings(), scene.entered():
        warnings.simplefilter("ignore")
        for text, call in kinds.wrong_calls(scene, name, wrong):
            yield _called(text, call)


def _called(name: str, call: Callable[[], object]) -> Outcome:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            call()
    except TorchedgeError as error:
        return Outcome(name=name, result=_judged(str(error)), text=str(error))
    except Exception as error:
        return Outcome(name=name, result="RAW", text=f"{type(error).__name__}: {error}")
    return Outcome(name=name, result="works")


def _typed(name: str, words: Words, scene: Scene) -> Outcome:
    typed = [str(word) for word in words(scene)]
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = torchedge_main(typed)
    text = "\n".join(line for line in said.getvalue().splitlines() if not line.startswith("…"))
    if code == 0:
        return Outcome(name=name, result="works")
    ours = code in {1, 2} and text.startswith("error: ") and "--debug shows where" not in text
    return Outcome(name=name, result=_judged(text) if ours else "RAW", text=text)


def _judged(text: str) -> Result:
    """One line, not endless, of a fact and a way out."""
    two_parts = any(sign in text for sign in (";", ". ", ": "))
    return "refused" if "\n" not in text and len(text) <= _LONGEST and two_parts else "RAW"


def outcomes(names: tuple[str, ...], words: tuple[str, ...]) -> Iterator[Outcome]:
    """Make calls one after another, in a folder that is then removed."""
    with tempfile.TemporaryDirectory(prefix="torchedge-calls-") as folder:
        scene = Scene(Path(folder))
        for name in names:
            begun = time.perf_counter()
            found = outcome(name, scene)
            yield replace(found, seconds=round(time.perf_counter() - begun, 2))
        for name in kinds.BASES:
            if not words or any(word in name for word in words):
                yield from outcomes_of_kinds(name, scene)


def main(*words: str, all: bool = False) -> None:
    """Make the calls and print what is raw.

    Args:
        words: Only calls whose names have one of them.
        all: Print the others, too.
    """
    chosen = tuple(name for name in NAMES if not words or any(word in name for word in words))
    found = []
    for entry in outcomes(chosen, words):
        found.append(entry)
        if all or entry.result == "RAW":
            print(f"{entry.result:8} {entry.name:45} {entry.text[:400]!r}", flush=True)
    counts = Counter(entry.result for entry in found)
    print(f"{len(found)} calls: " + ", ".join(f"{n} {result}" for result, n in counts.items()))
    Path("runs").mkdir(exist_ok=True)
    Path("runs/bad_calls.json").write_text(
        json.dumps([asdict(e) for e in found], indent=2), encoding="utf-8"
    )
    sys.exit(1 if counts["RAW"] else 0)


if __name__ == "__main__":
    cyclopts.run(main)
