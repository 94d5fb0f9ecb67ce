"""``torchedge benchmark``."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts

from torchedge.text import cell, console

if TYPE_CHECKING:
    from torchedge.bench.census import Census
    from torchedge.exporting.artifact import Artifact

__all__ = ["benchmark"]


def benchmark(
    artifact: Path,
    /,
    *,
    census: bool = False,
    runs: int = 200,
    warmup: int = 20,
    as_json: Annotated[bool, cyclopts.Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Time an artefact on this computer with its own runtime, or count what it computes with.

    Args:
        artifact: Folder of one artefact, for example runs/digits-onnx-cpu/onnx.
        census: Count instead of timing: which share of the MACs is integer, and how many operators
            of each type there are, in float, moving data, or converting.
        runs: Inferences that are timed.
        warmup: Inferences before that.
        as_json: Print JSON instead of text.
    """
    from torchedge.exporting.artifact import load_artifact

    opened = load_artifact(artifact)
    found = _census(opened) if census else _latency(opened, runs, warmup)
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201
    else:
        _print(found)


def _identity(artifact: "Artifact") -> dict[str, Any]:
    return {"name": artifact.name, "format": artifact.format, "sha256": artifact.sha256}


def _census(artifact: "Artifact") -> dict[str, Any]:
    from torchedge.bench.session import CountsIntegers
    from torchedge.errors import UnknownNameError
    from torchedge.exporting.plugins import runner

    counter = runner(artifact.format)
    if not isinstance(counter, CountsIntegers):
        raise UnknownNameError(
            f"nothing counts the integers of '{artifact.format}' artefacts; name the onnx or "
            "tensorrt-bundle folder that an export wrote."
        )
    return _identity(artifact) | _census_plain(counter.census(artifact))


def _census_plain(census: "Census") -> dict[str, Any]:
    return {
        "integer_share": census.integer_share,
        "macs": census.macs,
        "evidence": census.evidence,
        "layers": [dataclasses.asdict(layer) for layer in census.layers],
        "operators": [dataclasses.asdict(entry) for entry in census.operators],
    }


def _latency(artifact: "Artifact", runs: int, warmup: int) -> dict[str, Any]:
    import platform

    import numpy as np

    from torchedge.bench.latency import measure_latency
    from torchedge.exporting.plugins import runner

    random = np.random.default_rng(0)
    inputs = [random.random(spec.shape, dtype=np.float32) for spec in artifact.inputs]
    opener = runner(artifact.format)
    with opener.open(artifact) as session:
        latency = measure_latency(session, inputs, warmup=warmup, runs=runs)
    place = {"runtime": opener.label, "machine": platform.machine(), "inputs": "uniform noise"}
    return _identity(artifact) | place | {"warmup": warmup} | dataclasses.asdict(latency)


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    title = f"{found['name']} ({found['format']})"
    if "layers" in found:
        _print_census(found, title)
        return
    table = Table(
        "p50 ms", "p90 ms", "p99 ms", "runs", "warm-up", title=cell(f"{title}, {found['runtime']}")
    )
    times = [f"{found[name]:.3f}" for name in ("p50_ms", "p90_ms", "p99_ms")]
    table.add_row(*times, str(found["runs"]), str(found["warmup"]))
    console().print(table)


def _print_census(found: dict[str, Any], title: str) -> None:
    from rich.table import Table

    table = Table("layer", "operation", "MACs", "integer", "why not", title=cell(title))
    for layer in found["layers"]:
        integer = "yes" if layer["integer"] else "no"
        name, operation, reason = (cell(layer[key]) for key in ("name", "operation", "reason"))
        table.add_row(name, operation, f"{layer['macs']:,}", integer, reason)
    counts = Table("operator", "count", "in float", "", title="every operator of the graph")
    for entry in found["operators"]:
        what = "only converts" if entry["converts"] else ""
        operation = cell(entry["operation"])
        counts.add_row(operation, f"{entry['count']:,}", f"{entry['in_float']:,}", what)
    terminal = console()
    terminal.print(table)
    if found["operators"]:
        terminal.print(counts)
    terminal.print(
        f"{found['integer_share']:.2%} of {found['macs']:,} MACs are integer "
        f"({found['evidence']}).",
        soft_wrap=True,
    )
