"""Artefacts of strangers: none may run code, leave its folder, or take what it has not.

    python -m benchmarks.hostile [--count 1000] [--seed 0] [--crafted-only]

Small artefacts of every format are built once. Copies of them are spoiled at random (bits, cuts,
members, numbers and names of JSON, fields of ONNX), and others are made with a purpose: archives
with two directories, pickles under other names, links, pipes, bombs, shapes of gigabytes, functions
that call themselves. Manifests are sealed again, so that hashes show nothing. Each is opened as a
user would, and some are exported, in a process of its own, for at most 20 s. What must hold: no
code ran and no file outside was touched, every refusal is one line, and memory stays below three
times the artefact's files and 200 MB. Written to runs/hostile.json as well.
"""

import json
import logging
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import final

import cyclopts
import torch

from benchmarks.hostile_inputs.crafted_files import files, tensors
from benchmarks.hostile_inputs.crafted_graphs import onnx_files, tflite_files
from benchmarks.hostile_inputs.crafted_programs import programs
from benchmarks.hostile_inputs.crafted_values import bundles, caches, tickets
from benchmarks.hostile_inputs.mutations import spoiled
from benchmarks.hostile_inputs.opening import Outcome, opened
from benchmarks.hostile_inputs.server import LIMIT_S, in_a_copy
from benchmarks.hostile_inputs.sources import sources

__all__ = ["Verdict", "crafted", "main", "mutated", "warm", "wrong_with"]

_FREE_BYTES = 200 * 10**6
_TIMES = 3
_EXPORTED = 0.05


@final
@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An outcome that must not be.

    Args:
        outcome: What became of an artefact.
        wrong: Why that must not be.
    """

    outcome: Outcome
    wrong: str


def main(*, count: int = 1000, seed: int = 0, crafted_only: bool = False) -> None:
    """Open spoiled artefacts and print what must not be.

    Args:
        count: How many are spoiled at random.
        seed: Of what is done to them.
        crafted_only: Leave those out.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        built = sources(Path(name) / "built")
        work = Path(name) / "work"
        warm(built, work)
        outcomes = list(crafted(built, work))
        if not crafted_only:
            outcomes += mutated(built, work, count=count, seed=seed)
    verdicts = [Verdict(outcome=o, wrong=w) for o in outcomes if (w := wrong_with(o))]
    _print(outcomes, verdicts)
    out = Path("runs/hostile.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(
        json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n", encoding="utf-8"
    )
    sys.exit(1 if verdicts else 0)


def warm(built: Mapping[str, Path], work: Path) -> None:
    """Open every sound artefact in this process, so that its copies need import nothing."""
    for kind, source in built.items():
        with _place(source, work) as place:
            opened(place.copy, kind, kind, exported=kind == "torch")


def crafted(
    built: Mapping[str, Path], work: Path, *, only: Iterable[str] | None = None
) -> Iterator[Outcome]:
    """Open each artefact that was made with a purpose.

    Args:
        built: Sound artefacts by format.
        work: A folder of its own.
        only: Formats; all of them where it is left out.
    """
    makers = {
        "torch": (*programs(), *files(), *tensors()),
        "onnx": tuple(onnx_files()),
        "tflite": tuple(tflite_files()),
        "tflite-micro": tuple(tflite_files()),
        "edgetpu": (*_without_samples(), *tflite_files()),
        "tensorrt-bundle": (*_without_samples(), *onnx_files(), *bundles()),
        "teacher-cache": (*_without_samples(), *caches()),
        "ticket": (*_without_samples(), *tickets()),
    }
    for kind in makers if only is None else only:
        if kind not in built:
            continue
        for name, make in makers[kind]:
            with _place(built[kind], work) as place:
                yield place.opened(
                    kind, f"{kind}: {name}", partial(make, place.copy, place.outside)
                )


def _without_samples() -> Iterator[tuple[str, Callable[[Path, Path], None]]]:
    """What is done to a manifest, which every format has."""
    return (entry for entry in files() if "samples" not in entry[0])


def mutated(built: Mapping[str, Path], work: Path, *, count: int, seed: int) -> Iterator[Outcome]:
    """Open artefacts of all formats in turn, each spoiled at random.

    Args:
        built: Sound artefacts by format.
        work: A folder of its own.
        count: How many.
        seed: Number ``i`` is spoiled by this and ``i`` alone.
    """
    kinds = sorted(built)
    for index in range(count):
        choice = random.Random(f"{seed} {index}")
        kind = kinds[index % len(kinds)]
        with _place(built[kind], work) as place:
            yield place.opened(
                kind,
                f"{kind} {index}: ",
                partial(spoiled, place.copy, choice),
                exported=choice.random() < _EXPORTED,
            )


@final
class _place:  # noqa: N801 - used as a function
    """A copy of an artefact beside a folder that nothing may touch."""

    def __init__(self, source: Path, work: Path) -> None:
        self._work = work
        self.outside, self.copy = work / "outside", work / "artefact"
        shutil.rmtree(work, ignore_errors=True)
        self.outside.mkdir(parents=True)
        shutil.copytree(source, self.copy)

    def __enter__(self) -> "_place":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    def opened(self, kind: str, name: str, make: object, *, exported: bool = False) -> Outcome:
        """Spoil, open and look whether anything outside was touched."""
        assert callable(make)
        secret = self.outside / "secret.bin"
        secret.write_bytes(bytes(64))

        def prepare() -> str:
            said = make() or ""
            os.utime(secret, (1, secret.stat().st_mtime))  # reading it sets the time anew
            return str(said)

        outcome = in_a_copy(self.copy, kind, name, prepare, exported=exported)
        events = [*outcome.events]
        events += [] if secret.stat().st_atime == 1 else ["secret.bin was read"]
        known = {"outside", "artefact", "artefact-out"}
        events += [f"{p.name} was written" for p in self.outside.iterdir() if p != secret]
        events += [f"{p.name} was written" for p in self._work.iterdir() if p.name not in known]
        return Outcome(**{**asdict(outcome), "events": tuple(events)})


def wrong_with(outcome: Outcome) -> str:
    """Why an outcome must not be; empty where it may.

    Example:
        >>> wrong_with(Outcome(name="cut", verdict="raw", text="KeyError: 'a'"))
        "raw: KeyError: 'a'"
    """
    if outcome.events:
        return f"touched: {outcome.events[0]}"
    if outcome.verdict not in {"accepted", "refused"}:
        return f"{outcome.verdict}: {outcome.text[:200]}"
    if outcome.seconds > LIMIT_S:
        return f"took {outcome.seconds:.0f} s"
    allowed = _TIMES * min(outcome.file_bytes, 2**32) + _FREE_BYTES
    if outcome.peak_bytes > allowed:
        return f"took {outcome.peak_bytes:,} bytes of memory, not {allowed:,}"
    return ""


def _print(outcomes: list[Outcome], verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        print(f"{verdict.outcome.name}\n    {verdict.wrong}")
    counts = Counter(outcome.verdict for outcome in outcomes)
    print(f"{len(outcomes)} artefacts: {dict(counts)}; {len(verdicts)} that must not be")
    print(
        f"longest {max(o.seconds for o in outcomes):.1f} s, "
        f"most memory {max(o.peak_bytes for o in outcomes) / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    cyclopts.run(main)
