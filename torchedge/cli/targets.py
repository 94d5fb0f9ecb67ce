"""``torchedge targets``."""

import json
from typing import Annotated

import cyclopts

from torchedge.text import cell, console

__all__ = ["targets"]


def targets(
    *, as_json: Annotated[bool, cyclopts.Parameter(name=["--json"], negative=())] = False
) -> None:
    """List the targets that --target takes, with their devices and numbers.

    Args:
        as_json: Print JSON instead of a table.
    """
    from torchedge.exporting.plugins import targets as all_targets

    rows = [
        {
            "name": name,
            "alias_of": target.name if target.name != name else None,
            "device": target.device.name,
            "activations": str(target.scheme.activation),
            "way": " → ".join(["torch", *(step.produces for step in target.steps)]),
            "summary": target.summary,
        }
        for name, target in all_targets().items()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    _print_table(rows)


def _print_table(rows: list[dict[str, str | None]]) -> None:
    from rich.table import Table

    table = Table()
    for column in ("target", "device", "activations", "what it gives"):
        table.add_column(column, no_wrap=column == "target")
    for row in rows:
        summary = f"same as {row['alias_of']}" if row["alias_of"] else row["summary"]
        texts = (row["name"], row["device"], row["activations"], summary)
        table.add_row(*(cell(text) for text in texts))
    console().print(table)
