"""A report as Markdown, JSON and a table for the terminal; all three show the same figures."""

import dataclasses
import json
import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from torchedge.bench.census import operators_text
from torchedge.bench.gate import likeness_text
from torchedge.text import cell, console, for_code, for_markdown, for_terminal, harmless_markdown

if TYPE_CHECKING:
    from rich.table import Table

    from torchedge.bench.memory import Memory, MemoryPart
    from torchedge.bench.parity import Parity
    from torchedge.report.report import Report, SpeedComparison, Stage

__all__ = ["stage_rows", "summary_lines", "to_json", "to_markdown", "to_table", "to_text"]

_TEXT_COLUMNS = 100
_COLUMNS = ("stage", "accuracy", "bytes", "difference", "like float")


def stage_rows(report: "Report") -> list[tuple[str, ...]]:
    """One row of text for each form of the network."""
    return [
        (
            stage.name,
            _accuracy_text(stage),
            "" if stage.bytes is None else f"{stage.bytes:,}",
            "" if stage.parity is None else _difference_text(stage.parity),
            "" if stage.like_float is None else likeness_text(stage.like_float),
        )
        for stage in report.stages
    ]


def _accuracy_text(stage: "Stage") -> str:
    return stage.missing if stage.accuracy is None else f"{stage.accuracy:.2%}"


def _samples_text(report: "Report") -> str:
    return f", {report.parity.samples:,} samples" if report.parity else ""


def _difference_text(parity: "Parity") -> str:
    """Of the worst output, with its name where there are several."""
    worst = max(parity.outputs, key=lambda output: output.relative_to_range)
    which = f" ({worst.name})" if worst.name and len(parity.outputs) > 1 else ""
    same = parity.top1_agreement
    top1 = "" if same is None or same == 1 else f", top-1 {same:.2%}"
    if worst.max_lsb is None:
        return f"{worst.relative_to_range:.3%} of range{which}{top1}"
    return f"{worst.max_lsb:.0f} LSB, {worst.identical_share:.2%} equal{which}{top1}"


def summary_lines(report: "Report") -> list[str]:
    """Sentences below the table: how it was made, integer share, speed, and what was not run."""
    lines = [f"{note}." for note in report.notes]
    if census := report.census:
        lines.append(
            f"Integer share of the arithmetic: {census.integer_share:.1%} of {census.macs:,} MACs "
            f"({census.evidence})."
        )
        if census.operators:
            lines.append(f"{operators_text(census)}.")
    if report.speed:
        lines += [_speed_text(report.speed), *_no_gain_text(report)]
    if report.fit:
        lines += [_memory_text(memory, report.fit.device) for memory in report.fit.memories]
    lines += [
        f"{stage.name}: measured by {stage.measured_by}."
        for stage in report.stages
        if stage.measured_by
    ]
    lines += [
        f"{stage.name}: compared with {stage.compared_with}."
        for stage in report.stages
        if stage.compared_with
    ]
    lines += [
        f"{stage.name}: {stage.shortfall}; exported all the same, because that was asked for."
        for stage in report.stages
        if stage.shortfall
    ]
    return lines + [f"{stage.note}." for stage in report.stages if stage.note]


def _speed_text(speed: "SpeedComparison") -> str:
    simulated = speed.integer_share == 0 and speed.form == "int8"
    what = "int8 simulated in float" if simulated else speed.form
    return (
        f"Latency float32 / {what}: ratio {speed.ratio:.2f} "
        f"({speed.float_latency.p50_ms:.3f} ms / {speed.integer_latency.p50_ms:.3f} ms, p50 of "
        f"{speed.integer_latency.runs} runs in turn; {speed.place})."
    )


def _no_gain_text(report: "Report") -> list[str]:
    """That integers do not win here, where their kernels ran and were no faster."""
    speed, census = report.speed, report.census
    if speed is None or census is None or speed.ratio >= 1 or not speed.integer_share:
        return []
    operators = sum(entry.count for entry in census.operators)
    return [
        f"{speed.form} does not win on this computer: float32 takes {speed.ratio:.0%} of its time, "
        f"for {census.macs:,} MACs in {operators:,} operators; what it saves is memory."
    ]


def _memory_text(memory: "Memory", device: str) -> str:
    parts = ", ".join(f"{p.name} {p.bytes:,} ({p.evidence})" for p in memory.parts)
    return (
        f"{memory.kind[0].upper()}{memory.kind[1:]}: {memory.bytes:,} of {memory.limit_bytes:,} "
        f"bytes on {device}: {parts}."
    )


def _title(report: "Report") -> str:
    return f"{report.artifact.name} for {report.target.name}{_samples_text(report)}"


def to_markdown(report: "Report") -> str:
    """A page with the table of stages, the summary and the files."""
    title = f"# {for_markdown(_title(report))}"
    lines = [title, "", *_markdown_table(report), ""]
    lines += [
        f"Differences are from {_reference_text(report)}, the largest over all samples; "
        "`like float` is against the user's float network.",
        "",
    ]
    lines += [f"- {for_markdown(line)}" for line in summary_lines(report)]
    lines += ["", f"Device: {report.target.device.name}. Steps: {for_markdown(_way(report))}.", ""]
    lines += ["| file | bytes | SHA-256 |", "|---|---:|---|"]
    lines += [
        f"| {for_markdown(f'{report.artifact.path.name}/{name}')} | {record.bytes:,} "
        f"| {for_code(f'{record.sha256[:16]}…')} |"
        for name, record in report.artifact.files.items()
    ]
    return "\n".join([*lines, *_memory_lines(report), *_diagnostics_lines(report)]) + "\n"


def _memory_lines(report: "Report") -> list[str]:
    lines = []
    for memory in report.fit.memories if report.fit else ():
        lines += [
            "",
            f"| {for_markdown(memory.kind)} | bytes | | what it rests on |",
            "|---|---:|---|---|",
        ]
        lines += [_part_line(part) for part in memory.parts]
        lines += [f"| together, of {memory.limit_bytes:,} | {memory.bytes:,} | | |"]
    return ["", f"## Memory of {for_markdown(report.fit.device)}", *lines] if report.fit else []


def _part_line(part: "MemoryPart") -> str:
    name, evidence, how = map(for_markdown, (part.name, part.evidence, part.how))
    return f"| {name} | {part.bytes:,} | {evidence} | {how} |"


def _diagnostics_lines(report: "Report") -> list[str]:
    found = report.diagnostics
    if found is None:
        return []
    pictures = [
        f"![{for_markdown(PurePosixPath(picture).stem)}]({quote(picture)})"
        for picture in found.pictures
    ]
    lines = ["", "## Where accuracy is lost", "", harmless_markdown(found.text).rstrip()]
    return [*lines, *(line for picture in pictures for line in ("", picture))]


def _reference_text(report: "Report") -> str:
    quantised = any(stage.name.startswith("fake-quantised") for stage in report.stages)
    model = "the fake-quantised PyTorch model" if quantised else "the float model"
    elsewhere = any(stage.compared_with for stage in report.stages)
    return f"{model}, or the network that a line below names" if elsewhere else model


def _markdown_table(report: "Report") -> list[str]:
    cells = [tuple(map(for_markdown, row)) for row in stage_rows(report)]
    rows = [_COLUMNS, ("---", "---:", "---:", "---", "---"), *cells]
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
        "stages": [_finite(dataclasses.asdict(stage)) for stage in report.stages],
        "census": _census_plain(report),
        "speed": None if report.speed is None else dataclasses.asdict(report.speed),
        "fit": None if report.fit is None else report.fit.to_dict(),
        "diagnostics": None if report.diagnostics is None else dict(report.diagnostics.figures),
        "notes": list(report.notes),
        "not_run": [stage.note for stage in report.stages if stage.missing == "not run"],
        "files": {name: record.bytes for name, record in report.artifact.files.items()},
    }
    return json.dumps(plain, indent=2) + "\n"


def _finite(plain: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """The same with ``null`` for infinity, which JSON has no word for: nothing differs."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _census_plain(report: "Report") -> dict[str, object] | None:
    census = report.census
    if census is None:
        return None
    return dataclasses.asdict(census) | {"macs": census.macs, "integer_share": census.integer_share}


def to_table(report: "Report") -> "Table":
    """The stages as a table for the terminal."""
    from rich import box
    from rich.table import Table

    title = _title(report)
    table = Table(title=cell(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        numeric = column in {"accuracy", "bytes"}
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in stage_rows(report):
        table.add_row(*map(cell, row))
    return table


def to_text(report: "Report") -> str:
    """The table and the summary as plain text."""
    terminal = console(width=_TEXT_COLUMNS)
    with terminal.capture() as captured:
        terminal.print(to_table(report))
    table = "\n".join(line.rstrip() for line in captured.get().splitlines())
    return "\n".join([table.rstrip("\n"), *map(for_terminal, summary_lines(report))])
