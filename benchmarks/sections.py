"""What every benchmark of several sections does: run the chosen ones, print, and write JSON."""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from torchedge.errors import UsageError

__all__ = ["Sections", "run_sections"]

Sections = Mapping[str, Callable[[], Mapping[str, Any]]]


def run_sections(sections: Sections, chosen: tuple[str, ...], out: Path, *, threads: int) -> None:
    """Run sections, print their figures, and write every figure as JSON.

    Args:
        sections: By name; each gives rows of figures, or rows of timings of several contestants.
        chosen: Which ones; all if none is given.
        out: JSON file; sections that were not run keep what it held.
        threads: For torch.

    Raises:
        UsageError: There is no section of that name.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    unknown = set(chosen) - set(sections)
    if unknown:
        raise UsageError(f"there is no section {sorted(unknown)}; choose of {list(sections)}.")
    results: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    console = Console(width=120, highlight=False)
    for section in chosen or sections:
        results[section] = _plain(sections[section]())
        _show(console, section, results[section])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=2), encoding="utf-8")


def _plain(value: object) -> Any:  # noqa: ANN401 - what JSON can hold
    """Dataclasses and mappings as plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _show(console: Console, section: str, found: Mapping[str, Any]) -> None:
    """Print each figure with its name."""
    console.rule(section)
    for name, figures in found.items():
        if all(not isinstance(value, Mapping) for value in figures.values()):
            shown = [f"{k} {v:.4g}" for k, v in figures.items()]
            console.print(f"{name:32s} {', '.join(shown)}")
        else:
            for contestant, timing in figures.items():
                console.print(
                    f"{name:20s} {contestant:32s} "
                    f"{timing['median_ms']:8.1f} ms  x{timing['ratio']:.2f}, "
                    f"fastest x{timing['fastest_ratio']:.2f}"
                )
