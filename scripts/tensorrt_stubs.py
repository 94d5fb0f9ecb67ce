"""Copies tensorrt-stubs to where mypy finds them, with what does not parse put right.

Typed parameters called ``in`` and one without a default behind others that have one keep mypy from
reading the package at all, and without py.typed it would not look at it.
"""

import ast
import sys
from importlib import metadata
from pathlib import Path

TARGET = Path(__file__).parent.parent / "build" / "stubs"
REPAIRS = ((" in: ", " in_: "), ("channel_axis: int)", "channel_axis: int = ...)"))


def main() -> None:
    """Write build/stubs, or the folder that is named; ends with 1 where one does not parse."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    try:
        files = metadata.files("tensorrt-stubs") or []
    except metadata.PackageNotFoundError:
        sys.exit("tensorrt-stubs is not installed; scripts/setup installs it.")
    for file in files:
        if file.suffix != ".pyi":
            continue
        text = Path(str(file.locate())).read_text(encoding="utf-8")
        lines = [repaired(line) for line in text.splitlines()]
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            sys.exit(f"{file} of tensorrt-stubs does not parse: {error}; add it to REPAIRS.")
        path = target / str(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def repaired(line: str) -> str:
    """A line of a stub as Python can read it."""
    if line.lstrip().startswith("def "):
        for wrong, right in REPAIRS:
            line = line.replace(wrong, right)
    return line


if __name__ == "__main__":
    main()
