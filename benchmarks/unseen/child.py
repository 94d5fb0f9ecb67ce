"""One network in its own process: a JSON line for each stage on a file, as soon as it is done."""

import contextlib
import io
import json
import logging
import math
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import final

import torch

from benchmarks.unseen.catalogue import build
from benchmarks.unseen.order import AFTER, STAGES
from benchmarks.unseen.stages import Work
from benchmarks.unseen.subjects import subject
from torchedge.errors import TorchedgeError
from torchedge.quantization.recovery.quantize import Effort

__all__ = ["Outcome", "main", "outcomes"]

_NOTHING_MADE = {"refused", "raw", "limit"}
_AS_IN = "as in "
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "Failed to allocate")


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one stage of one network ended.

    Args:
        network: Its name.
        stage: Its name.
        verdict: ``whole``; ``unclean``: rules of the target are broken; ``refused`` by one of the
            toolkit's errors; ``raw``: any other exception; ``wrong``: no error, and not the right
            numbers; ``limit`` of time or memory; ``unbuilt``: the network itself does not run.
        reason: The error's text and place, or what is wrong.
        figures: What was measured.
        cpu_s: Processor time.
    """

    network: str
    stage: str
    verdict: str
    reason: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0


def main(
    name: str, out: Path, *stages: str, cpu_s: int, memory_gib: float, effort: Effort = "balanced"
) -> None:
    """Take a network through stages.

    Args:
        name: Of the catalogue.
        out: A line is added for each stage.
        stages: Their names.
        cpu_s: Processor time after which the system ends this process.
        memory_gib: What it may allocate.
        effort: Of quantisation.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gib * 2**30),) * 2)
    torch.set_num_threads(1)
    silent = contextlib.redirect_stderr(io.StringIO())  # torch.fx prints its errors
    with out.open("a", encoding="utf-8") as file, tempfile.TemporaryDirectory() as folder, silent:
        for outcome in outcomes(name, stages, Path(folder), effort):
            print(json.dumps(asdict(outcome)), file=file, flush=True)


def outcomes(
    name: str, stages: Sequence[str], folder: Path, effort: Effort = "balanced"
) -> Iterator[Outcome]:
    """How each stage of a network ends; one that is not reached ends like the one before it.

    Args:
        name: Of the catalogue.
        stages: Their names, in the order of :data:`STAGES`.
        folder: Empty; files go there.
        effort: Of quantisation.
    """
    entry = build(name)
    try:
        work = Work(subject(entry), folder, effort)
        _require_finite(work.answer)
    except Exception as error:  # whatever it is, it is not the toolkit's
        reason = f"{type(error).__name__}: {_first_line(error)}"
        yield from (
            Outcome(network=name, stage=s, verdict="unbuilt", reason=reason) for s in stages
        )
        return
    ended: dict[str, Outcome] = {}
    for stage in stages:
        before = ended.get(AFTER.get(stage, ""))
        if before is not None and before.verdict in _NOTHING_MADE:
            cause = before.reason if before.reason.startswith(_AS_IN) else _AS_IN + before.stage
            ended[stage] = replace(before, stage=stage, reason=cause, figures={}, cpu_s=0.0)
        else:
            ended[stage] = _outcome(name, stage, work)
        yield ended[stage]


def _require_finite(answer: tuple[torch.Tensor, ...]) -> None:
    if not answer or not all(bool(tensor.isfinite().all()) for tensor in answer):
        raise ValueError("the float network answers with infinities or with no tensor")


def _outcome(name: str, stage: str, work: Work) -> Outcome:
    begin = time.process_time()
    figures: dict[str, float] = {}
    try:
        found = STAGES[stage](work)
        figures = {k: float(f"{v:.4g}") for k, v in found.figures.items() if math.isfinite(v)}
        verdict = "wrong" if found.wrong else "unclean" if found.unclean else "whole"
        reason = "; ".join((*found.wrong, *found.unclean)[:3])
    except MemoryError:
        verdict, reason = "limit", "memory"
    except TorchedgeError as error:
        verdict, reason = "refused", f"{type(error).__name__}: {_first_line(error)}"
    except Exception as error:
        no_memory = any(text in str(error) for text in _NO_MEMORY)
        verdict = "limit" if no_memory else "raw"
        reason = f"{type(error).__name__}: {_first_line(error)} {_place(error)}"
    return Outcome(
        network=name,
        stage=stage,
        verdict=verdict,
        reason=reason,
        figures=figures,
        cpu_s=round(time.process_time() - begin, 2),
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:400]


def _place(error: Exception) -> str:
    """The last line of the toolkit that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/torchedge" in frame.filename]
    return f"[{Path(ours[-1].filename).name}:{ours[-1].lineno}]" if ours else "[benchmarks]"
