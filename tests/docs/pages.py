"""Reading the pages: their Python blocks with what each says it prints, and their lines of shell."""

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

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s)#.*")


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, the line it begins at and what it should print."""

    language: str
    text: str
    line: int
    printed: str = ""


def blocks(page: Path) -> list[Block]:
    """Every block; one of text right behind one of Python is what that prints."""
    text = page.read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(text))
    following = [*found[1:], None]
    return [
        Block(
            language=match[1],
            text=match[2],
            line=text[: match.start(2)].count("\n") + 1,
            printed=_printed(text, match, after),
        )
        for match, after in zip(found, following, strict=True)
    ]


def _printed(text: str, match: re.Match[str], after: "re.Match[str] | None") -> str:
    directly = after is not None and not text[match.end() : after.start()].strip()
    return after[2] if after is not None and directly and after[1] == "text" else ""


def run_page(page: Path) -> None:
    """Run a page's Python from top to bottom, as pasted into one file, and compare what it prints."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            _run(page, block, names)


def _run(page: Path, block: Block, names: dict[str, object]) -> None:
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
    with redirect_stdout(io.StringIO()) as stream:
        exec(code, names)  # noqa: S102 - the page is ours
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
