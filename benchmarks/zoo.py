"""Networks that nothing was tuned on, each taken through every stage in a process with limits.

    pip install -e '.[bench]'
    python -m benchmarks.zoo [NETWORK ...] [--stages STAGE ...] [--again]

The stages: ``prepare`` (with quantisation off, the same function), ``calibrate``, ``quantize`` (not
worse than its cheapest effort), ``onnx`` (ONNX Runtime computes the reference's integers),
``prune`` (to half, forward and backward), ``jetson`` (the bundle keeps to the rules) and
``tflite`` (LiteRT is within a step of PyTorch, and as near to float). Random weights whose norms
know the data. Every end of a stage is a line of ``runs/zoo.jsonl``, and a run
goes on where the last one ended; ``runs/zoo.json`` has the shares. About an hour on two cores.
"""

import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from rich.console import Console
from rich.table import Table

from benchmarks.unseen.catalogue import NETWORKS, build
from benchmarks.unseen.child import Outcome
from benchmarks.unseen.child import main as child
from benchmarks.unseen.order import STAGES
from torchedge.errors import UsageError
from torchedge.quantization.recovery.quantize import Effort

__all__ = ["main", "run_network", "shares"]

_CPU_S, _MEMORY_GIB = 480, 9.0
_WALL_PER_CPU = 12  # of a machine that others use


def main(
    *names: str,
    stages: Annotated[tuple[str, ...], cyclopts.Parameter(consume_multiple=True)] = (),
    again: bool = False,
    effort: Effort = "balanced",
    processes: int = 1,
    out: Path = Path("runs/zoo.jsonl"),
) -> None:
    """Take networks through stages and print how each ended.

    Args:
        names: Networks; all of them if none is given.
        stages: Stages; all of them if none is given.
        again: Run what has been run before, too.
        effort: Of the quantised network that is exported; ``fast`` for a quick look.
        processes: Networks at a time, each on one thread.
        out: JSON lines; the shares go to a file beside it.
    """
    for name in names:
        build(name)
    if set(stages) - set(STAGES):
        raise UsageError(
            f"there is no stage {set(stages) - set(STAGES)}; choose of {list(STAGES)}."
        )
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # read by the processes
    chosen = tuple(stage for stage in STAGES if not stages or stage in stages)
    out.parent.mkdir(parents=True, exist_ok=True)
    known = {} if again else read(out)
    with ThreadPoolExecutor(processes) as pool:
        for name in names or NETWORKS:
            wanted = [stage for stage in chosen if (name, stage) not in known]
            pool.submit(_run_and_tell, name, wanted, out, effort)
    found = read(out)
    rows = [found[key] for key in found if key[0] in (names or NETWORKS) and key[1] in chosen]
    _show(rows, chosen)
    out.with_suffix(".json").write_text(json.dumps(shares(rows), indent=2), encoding="utf-8")


def read(out: Path) -> dict[tuple[str, str], Outcome]:
    """How each stage of each network ended last."""
    if not out.exists():
        return {}
    lines = [Outcome(**json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()]
    return {(outcome.network, outcome.stage): outcome for outcome in lines}


def _run_and_tell(name: str, stages: Sequence[str], out: Path, effort: Effort) -> None:
    for outcome in run_network(
        name, stages, out.with_name(f".{out.stem}-{name}.jsonl"), effort=effort
    ):
        with out.open("a", encoding="utf-8") as file:
            print(json.dumps(vars(outcome)), file=file)
        print(f"{name} {outcome.stage}: {outcome.verdict} {outcome.reason}", flush=True)


def run_network(
    name: str,
    stages: Sequence[str],
    lines: Path,
    *,
    cpu_s: int = _CPU_S,
    memory_gib: float = _MEMORY_GIB,
    effort: Effort = "balanced",
) -> list[Outcome]:
    """One network in a process of its own; where it is killed, another does the stages after.

    Args:
        name: Of the catalogue.
        stages: Their names.
        lines: Where the process writes; removed at the end.
        cpu_s: Processor time of a process.
        memory_gib: Memory of a process.
        effort: Of quantisation.
    """
    done: list[Outcome] = []
    while len(done) < len(stages):
        lines.unlink(missing_ok=True)
        limits = {"cpu_s": cpu_s, "memory_gib": memory_gib, "effort": effort}
        ended = _child(name, stages[len(done) :], lines, limits)
        done += read(lines).values()
        if len(done) < len(stages):
            stage = stages[len(done)]
            done.append(Outcome(network=name, stage=stage, verdict="limit", reason=ended))
    lines.unlink(missing_ok=True)
    return done


def _child(name: str, stages: Sequence[str], lines: Path, options: Mapping[str, Any]) -> str:
    """Run it, and say how it ended. The server has imported everything, and forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.unseen.child"])
    process = context.Process(target=child, args=(name, lines, *stages), kwargs=options)
    process.start()
    most_s = _WALL_PER_CPU * options["cpu_s"]
    process.join(most_s)
    if process.is_alive():
        process.kill()
        process.join()
        return f"more than {most_s} s"
    return f"ended with {process.exitcode}; it had {options['cpu_s']} s of processor time"


def shares(rows: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """For each stage how many networks ended how, and the reasons of those that are not whole."""
    found: dict[str, dict[str, Any]] = {}
    for stage in dict.fromkeys(row.stage for row in rows):
        mine = [row for row in rows if row.stage == stage and row.verdict != "unbuilt"]
        verdicts = [row.verdict for row in mine]
        found[stage] = {
            "networks": len(mine),
            "share_whole": verdicts.count("whole") / max(len(mine), 1),
            "ended": {kind: verdicts.count(kind) for kind in sorted(set(verdicts))},
            "reasons": {
                row.network: f"{row.verdict}: {row.reason}"
                for row in mine
                if row.verdict != "whole"
            },
        }
    return found


def _show(rows: Sequence[Outcome], stages: Sequence[str]) -> None:
    console = Console(width=150, highlight=False)
    ends = {(row.network, row.stage): row for row in rows}
    table = Table(title="stages that each network ended", show_lines=False)
    for column in ("network", "family", *stages):
        table.add_column(column)
    for name in dict.fromkeys(row.network for row in rows):
        cells = [_cell(ends.get((name, stage))) for stage in stages]
        table.add_row(name, NETWORKS[name].family, *cells)
    console.print(table)
    for stage, share in shares(rows).items():
        ended = f"{share['share_whole']:.1%} of {share['networks']}; {share['ended']}"
        console.print(f"{stage}: {ended}")
    for row in rows:
        if row.verdict != "whole" and not row.reason.startswith("as in"):
            console.print(f"{row.network}, {row.stage}: {row.verdict}: {row.reason[:300]}")


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not run"
    decibels = outcome.figures.get("sqnr_db")
    return outcome.verdict + (f" {decibels:.0f} dB" if decibels is not None else "")


if __name__ == "__main__":
    cyclopts.run(main)
