"""Kills commands at random moments and counts what must not happen.

``python -m benchmarks.kills [NAMES…] [--count 200] [--seed 0]``; ends with 1 if anything did.
"""

import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import cyclopts

from benchmarks.killed.commands import COMMANDS, Command, Inputs, make_inputs
from benchmarks.killed.trial import Found, Trial, contents, drawn_moment, killed, run_to_end
from torchedge.stopping import stop_in_one_line
from torchedge.writing import temporary_folder

__all__ = ["campaign", "main"]

_ROOT = Path(__file__).parents[1]
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def main(
    *names: str,
    count: int = 200,
    seed: int = 0,
    out: Path = Path("runs/kills.json"),
) -> int:
    """Kill and count.

    Args:
        names: Of commands; all by default.
        count: How many kills.
        seed: Of what is killed, when, and by which signal.
        out: Receives every trial.
    """
    for number in {*_SIGNALS} - {signal.SIGKILL}:  # as nohup and "&" of a script leave them
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    stop_in_one_line()
    chosen = list(names) or list(COMMANDS)
    found: list[Found] = []
    for one in campaign(chosen, count=count, seed=seed):
        found.append(one)
        print(_line(len(found), one), flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps([asdict(f) for f in found], indent=2), encoding="utf-8")
    problems = Counter(problem for one in found for problem in one.problems)
    states = Counter(f"{one.state} → {one.next_state}" for one in found)
    print(f"{len(found)} kills of {', '.join(chosen)}: {dict(problems) or 'no problem'}")
    print(f"folder after the kill → after the next start: {dict(states)}")
    return 1 if problems else 0


def _line(number: int, one: Found) -> str:
    when = f"{one.moment} + {one.delay_s:.3f} s"
    text = f"{number:4} {one.name:12} {one.signal:8} {when:20} {one.state} → {one.next_state}"
    ended = f"{one.code} in {one.took_s:.1f} s"
    return f"{text} {ended} {', '.join(one.problems)} {one.leftovers or ''}".rstrip()


@final
@dataclass(frozen=True, kw_only=True)
class _Known:
    """Of a command that was left alone: how long it takes, and both folders that it may leave."""

    seconds: float
    old: Path
    old_contents: str
    new_contents: str


def campaign(names: Sequence[str], *, count: int, seed: int) -> Iterator[Found]:
    """Kill commands in turn.

    Args:
        names: Of the commands.
        count: How many kills.
        seed: Of everything that is drawn.
    """
    draw = random.Random(seed)
    with temporary_folder("kills") as place:
        kinds = make_inputs(place / "inputs", list(names))
        known = {n: _undisturbed(n, place / n, kinds) for n in names}
        for number in range(count):
            name = names[number % len(names)]
            folder = place / f"trial-{number}"
            yield _trial(name, folder, kinds[1], known[name], draw)
            shutil.rmtree(folder)


def _undisturbed(name: str, place: Path, kinds: tuple[Inputs, Inputs]) -> _Known:
    old, new = (
        Trial(
            name=name,
            words=COMMANDS[name].words(inputs, place / str(inputs.kind) / "place/out"),
            folder=place / str(inputs.kind),
            signal=signal.SIGTERM,
            moment="any",
            delay_s=0,
            environment=_environment(),
        )
        for inputs in kinds
    )
    for trial in (old, new):
        trial.folder.mkdir(parents=True)
    seconds = max(run_to_end(trial) for trial in (old, new))
    return _Known(
        seconds=seconds,
        old=old.out,
        old_contents=contents(old.out),
        new_contents=contents(new.out),
    )


def _trial(name: str, folder: Path, inputs: Inputs, known: _Known, draw: random.Random) -> Found:
    command: Command = COMMANDS[name]
    folder.mkdir(parents=True)
    replaces = command.replaces and draw.random() < 0.6
    moment, delay = drawn_moment(draw)
    trial = Trial(
        name=name,
        words=[
            *command.words(inputs, folder / "place/out"),
            *(["--overwrite"] if replaces else []),
        ],
        folder=folder,
        signal=draw.choice(_SIGNALS),
        moment=moment,
        delay_s=delay * (known.seconds if moment == "any" else 1.0),
        environment=_environment(),
    )
    if replaces:
        shutil.copytree(known.old, trial.out)
    return killed(trial, known.old_contents if replaces else "", known.new_contents)


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'exporters'}"}


if __name__ == "__main__":
    cyclopts.run(main)
