"""A report as Markdown, JSON and a table for the terminal; all three show the same figures."""

import dataclasses
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from torchedge.bench.fit import Memory
    from torchedge.bench.parity import Parity
    from torchedge.report.report import Report, SpeedComparison, Stage

__all__ = ["stage_rows", "summary_lines", "to_json", "to_markdown", "to_table"]

_COLUMNS = ("stage", "accuracy", "bytes", "difference", "top-1 same")


def stage_rows(report: "Report") -> list[tuple[str, ...]]:
    """One row of text for each form of the network."""
    return [
        (
            stage.name,
            _accuracy_text(stage),
            "" if stage.bytes is None else f"{stage.bytes:,}",
            "" if stage.parity is None else _difference_text(stage.parity),
            "" if stage.parity is None else _agreement_text(stage.parity),
        )
        for stage in report.stages
    ]


def _accuracy_text(stage: "Stage") -> str:
    if stage.note:
        return "not run"
    return "" if stage.accuracy is None else f"{stage.accuracy:.2%}"


def _samples_text(report: "Report") -> str:
    return f", {report.parity.samples:,} samples" if report.parity else ""


def _difference_text(parity: "Parity") -> str:
    worst = max(parity.outputs, key=lambda output: output.relative_to_range)
    if worst.max_lsb is None:
        return f"{worst.relative_to_range:.3%} of range"
    return f"{worst.max_lsb:.0f} LSB, {worst.identical_share:.2%} equal"


def _agreement_text(parity: "Parity") -> str:
    agreement = parity.top1_agreement
    return "" if agreement is None else f"{agreement:.2%}"


def summary_lines(report: "Report") -> list[str]:
    """Sentences below the table: integer share, speed, and what was not run."""
    lines = []
    if census := report.census:
        lines.append(
            f"Integer share of the arithmetic: {census.integer_share:.1%} of {census.macs:,} MACs "
            f"({census.evidence})."
        )
    if report.speed:
        lines.append(_speed_text(report.speed))
    if report.fit:
        lines += [_memory_text(memory, report.fit.device) for memory in report.fit.memories]
    lines += [
        f"{stage.name}: measured by {stage.measured_by}."
        for stage in report.stages
        if stage.measured_by
    ]
    return lines + [f"{stage.note}." for stage in report.stages if stage.note]


def _speed_text(speed: "SpeedComparison") -> str:
    what = "int8 simulated in float" if speed.integer_share == 0 else "int8"
    return (
        f"Latency float32 / {what}: ratio {speed.ratio:.2f} "
        f"({speed.float_latency.p50_ms:.3f} ms / {speed.integer_latency.p50_ms:.3f} ms, p50 of "
        f"{speed.integer_latency.runs} runs in turn; {speed.place})."
    )


def _memory_text(memory: "Memory", device: str) -> str:
    parts = ", ".join(f"{p.name} {p.bytes:,} ({p.evidence})" for p in memory.parts)
    return (
        f"{memory.kind[0].upper()}{memory.kind[1:]}: {memory.bytes:,} of {memory.limit_bytes:,} "
        f"bytes on {device}: {parts}."
    )


def to_markdown(report: "Report") -> str:
    """A page with the table of stages, the summary and the files."""
    title = f"# {report.artifact.name} for {report.target.name}{_samples_text(report)}"
    lines = [title, "", *_markdown_table(report), ""]
    lines += [
        "Differences are from the fake-quantised PyTorch model, the largest over all samples.",
        "",
    ]
    lines += [f"- {line}" for line in summary_lines(report)]
    lines += ["", f"Device: {report.target.device.name}. Steps: {_way(report)}.", ""]
    lines += ["| file | bytes | SHA-256 |", "|---|---:|---|"]
    lines += [
        f"| {report.artifact.path.name}/{name} | {record.bytes:,} | `{record.sha256[:16]}…` |"
        for name, record in report.artifact.files.items()
    ]
    return "\n".join([*lines, *_memory_lines(report), *_diagnostics_lines(report)]) + "\n"


def _memory_lines(report: "Report") -> list[str]:
    lines = []
    for memory in report.fit.memories if report.fit else ():
        lines += ["", f"| {memory.kind} | bytes | | what it rests on |", "|---|---:|---|---|"]
        lines += [f"| {p.name} | {p.bytes:,} | {p.evidence} | {p.how} |" for p in memory.parts]
        lines += [f"| together, of {memory.limit_bytes:,} | {memory.bytes:,} | | |"]
    return ["", f"## Memory of {report.fit.device}", *lines] if report.fit else []


def _diagnostics_lines(report: "Report") -> list[str]:
    found = report.diagnostics
    if found is None:
        return []
    pictures = [f"![{PurePosixPath(picture).stem}]({picture})" for picture in found.pictures]
    lines = ["", "## Where accuracy is lost", "", found.text.rstrip()]
    return [*lines, *(line for picture in pictures for line in ("", picture))]


def _markdown_table(report: "Report") -> list[str]:
    rows = [_COLUMNS, ("---", "---:", "---:", "---", "---"), *stage_rows(report)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _way(report: "Report") -> str:
    return " → ".join(report.artifact.made_by)


def to_json(report: "Report") -> str:
    """Every figure of the report, with the units in the names."""
    plain = {
        "name": report.artifact.name,
        "target": report.target.name,
        "device": report.target.device.name,
        "format": report.artifact.format,
        "artifact_sha256": report.artifact.sha256,
        "metrics": dict(report.metrics),
        "stages": [dataclasses.asdict(stage) for stage in report.stages],
        "census": _census_plain(report),
        "speed": None if report.speed is None else dataclasses.asdict(report.speed),
        "fit": None if report.fit is None else report.fit.to_dict(),
        "diagnostics": None if report.diagnostics is None else dict(report.diagnostics.figures),
        "not_run": [stage.note for stage in report.stages if stage.note],
        "files": {name: record.bytes for name, record in report.artifact.files.items()},
    }
    return json.dumps(plain, indent=2) + "\n"


def _census_plain(report: "Report") -> dict[str, object] | None:
    census = report.census
    if census is None:
        return None
    return dataclasses.asdict(census) | {"macs": census.macs, "integer_share": census.integer_share}


def to_table(report: "Report") -> "Table":
    """The stages as a table for the terminal."""
    from rich import box
    from rich.table import Table

    title = f"{report.artifact.name} for {report.target.name}{_samples_text(report)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in _COLUMNS:
        numeric = column in {"accuracy", "bytes"}
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in stage_rows(report):
        table.add_row(*row)
    return table
