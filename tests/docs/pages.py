"""Reading the pages: Python blocks with what each says it prints, and lines of shell."""

import doctest
import io
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import final

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs/how-to").glob("*.md"))
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *GUIDES)

_BLOCK = re.compile(r"^(?:<!-- needs (\S+) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s)#.*")


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: language, text, first line, what it should print, and what file it needs."""

    language: str
    text: str
    line: int
    printed: str = ""
    needs: str = ""


def blocks(page: Path) -> list[Block]:
    """Every block; one of text right behind one of Python is what that prints."""
    text = page.read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(text))
    following = [*found[1:], None]
    return [
        Block(
            language=match[2],
            text=match[3],
            line=text[: match.start(3)].count("\n") + 1,
            printed=_printed(text, match, after),
            needs=match[1] or "",
        )
        for match, after in zip(found, following, strict=True)
    ]


def _printed(text: str, match: re.Match[str], after: "re.Match[str] | None") -> str:
    directly = after is not None and not text[match.end() : after.start()].strip()
    return after[3] if after is not None and directly and after[2] == "text" else ""


def run_page(page: Path) -> None:
    """Run a page's Python from top to bottom, as pasted into one file, and compare what it prints.

    A block that needs a file is run where that file is made, by :func:`run_block`.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and not block.needs:
            run_block(page, block, names)


def run_block(page: Path, block: Block, names: dict[str, object]) -> None:
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
    with redirect_stdout(io.StringIO()) as stream:
        exec(code, names)
    found = stream.getvalue()
    same = doctest.OutputChecker().check_output(block.printed, found, doctest.ELLIPSIS)
    assert same, f"{page.name}:{block.line} prints\n{found}\nand says\n{block.printed}"


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """Every line of every block of shell, without its comment, as words, with its line's number."""
    return [
        (block.line + index, shlex.split(_COMMENT.sub("", line)))
        for block in blocks(page)
        if block.language == "sh"
        for index, line in enumerate(block.text.splitlines())
        if _COMMENT.sub("", line).strip()
    ]
