"""``torchedge compare``: what the boards' benchmark.json files say, side by side."""

import json
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from torchedge.text import cell, console

__all__ = ["compare"]

_COLUMNS = (
    ("device", "device"),
    ("power mode", "power_mode_name"),
    ("precision", "precision"),
    ("transfers", "transfers"),
    ("CUDA graph", "cuda_graph"),
    ("GPU median ms", "gpu_compute_time_median_ms"),
    ("GPU p99 ms", "gpu_compute_time_p99_ms"),
    ("inferences/s", "throughput_per_s"),
    ("mJ gross", "energy_gross_mj"),
    ("mJ without idle", "energy_above_idle_mj"),
)
_LARGEST_FILE = 16 * 2**20


def compare(
    *results: Path,
    as_json: Annotated[bool, cyclopts.Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Set several benchmark.json files from boards side by side, the first as the measure.

    Args:
        results: What benchmark.py of a bundle wrote, two or more.
        as_json: Print JSON instead of a table.
    """
    rows = [_row(path, engine) for path in results for engine in _engines(path)]
    if not rows:
        from torchedge.errors import ArtifactError

        raise ArtifactError("no benchmark.json was given; name those that the boards wrote.")
    first = rows[0].get("gpu_compute_time_median_ms")
    for row in rows:
        median = row.get("gpu_compute_time_median_ms")
        row["times_as_fast"] = first / median if first and median else None
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
    else:
        _print(rows)


def _engines(path: Path) -> list[dict[str, Any]]:
    """The engines of a file, each with what all of them share.

    Raises:
        ArtifactError: It is no such file.
    """
    from torchedge.errors import ArtifactError
    from torchedge.reading.files import read_bounded
    from torchedge.reading.strict_json import strict_json

    try:
        plain = strict_json(read_bounded(path, _LARGEST_FILE), most_bytes=_LARGEST_FILE)
        shared = {**plain["environment"], **plain["settings"]}
        return [{**shared, **engine} for engine in plain["engines"]]
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"'{path}' is no benchmark.json of a bundle ({type(error).__name__}: {error}); copy it "
            "from the board again."
        ) from error


def _row(path: Path, engine: dict[str, Any]) -> dict[str, Any]:
    return {"file": str(path)} | {key: engine.get(key) for _, key in _COLUMNS}


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("file", *(title for title, _ in _COLUMNS), "× as fast")
    for row in rows:
        cells = (_text(row[key]) for _, key in _COLUMNS)
        table.add_row(*map(cell, (row["file"], *cells, _text(row["times_as_fast"]))))
    console(width=max(120, 20 * len(_COLUMNS))).print(table)


def _text(value: object) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
