"""Text from files, names and paths, made fit for where it is shown; it stays text everywhere."""

import os
import re
import shlex
import sys
import unicodedata
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "can_say_anything",
    "cell",
    "console",
    "for_code",
    "for_comment",
    "for_file_name",
    "for_markdown",
    "for_picture",
    "for_shell",
    "for_terminal",
    "harmless_markdown",
    "say",
]

_SPECIAL = re.compile(
    r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|^[#+=-](?=[\s#=-]|$)|^\d+(?=[.)](?:\s|$))"  # what begins a heading or a list
)
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ACTIVE = re.compile(r"\\.|[<\[]")
_ENTITIES = {"<": "&lt;", "[": "&#91;"}
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def for_terminal(text: object) -> str:
    r"""One line that moves no cursor, changes no colour and turns no direction.

    What cannot be printed is written as Python writes it: control characters, escape sequences,
    marks of direction, line ends, and bytes of a path that are no UTF-8.

    Example:
        >>> print(for_terminal("a\x1b[31m\r\u202eb"))
        a\x1b[31m\r\u202eb
    """
    return "".join(c if _is_plain(c) else _escaped(c) for c in str(text))


def _is_plain(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", errors="surrogatepass").decode("ascii")


def for_markdown(text: object) -> str:
    r"""A part of a line of Markdown, or a cell of its table, that shows exactly this text.

    Example:
        >>> print(for_markdown("a|b <script> _c_ d_e"))
        a\|b &lt;script&gt; \_c\_ d_e
    """
    special = _SPECIAL.sub(_with_backslash, for_terminal(text))
    return "".join(_HTML.get(character, character) for character in special)


def _with_backslash(found: "re.Match[str]") -> str:
    text = found[0]
    return f"{text}\\" if text.isdigit() else f"\\{text}"


def harmless_markdown(text: str) -> str:
    r"""Somebody's Markdown, whose tables and code stay, without its HTML, links and pictures.

    Example:
        >>> print(harmless_markdown("| a\\|b | <script> [x](y) |"))
        | a\|b | &lt;script> &#91;x](y) |
    """
    lines = (for_terminal(line) for line in text.split("\n"))
    return _ACTIVE.sub(lambda found: _ENTITIES.get(found[0], found[0]), "\n".join(lines))


def for_code(text: object) -> str:
    r"""Markdown that shows this text as code, in a table too; back-ticks in it stay what they are.

    Example:
        >>> print(for_code("a|b"), for_code("`"))
        `a\|b` `` ` ``
    """
    line = for_terminal(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    space = " " if line[:1] in ("`", " ", "") or line[-1:] in ("`", " ") else ""
    fence = "`" * (longest + 1)
    return f"{fence}{space}{line}{space}{fence}"


def for_shell(text: object) -> str:
    r"""One word of a shell's command line, on one line, that is no option.

    Example:
        >>> print(for_shell("a b"), for_shell("$(id)"), for_shell("-x"), for_shell("a\nb"))
        'a b' '$(id)' ./-x $'a\x0ab'
    """
    word = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    word = f"./{word}" if word.startswith("-") else word
    if for_terminal(word) == word:
        return shlex.quote(word)
    quoted = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(c if _is_plain(c) else _bytes(c) for c in quoted)}'"


def _bytes(character: str) -> str:
    return "".join(f"\\x{b:02x}" for b in character.encode("utf-8", errors="surrogateescape"))


def for_file_name(text: object) -> str:
    """A name for a file that every system takes and no shell reads anything into.

    Example:
        >>> for_file_name("my model: $(id)"), for_file_name("../x"), for_file_name("網")
        ('my-model-id', 'x', 'model')
    """
    return _NO_NAME.sub("-", str(text)).strip("-.")[:100] or "model"


def for_comment(text: object) -> str:
    r"""A part of a comment of C, CMake or YAML, which it does not end.

    Example:
        >>> for_comment("a */ b\nc")
        'a * / b\\nc'
    """
    line = for_terminal(text).replace("*/", "* /").replace("/*", "/ *").replace("??/", "? ?/")
    return line.replace("\\", "/") if line.endswith("\\") else line


def for_picture(text: object) -> str:
    r"""A text in a picture, in which dollars begin no formula.

    Example:
        >>> print(for_picture("$x$"))
        \$x\$
    """
    return for_terminal(text).replace("$", "\\$")


def cell(text: object) -> "Text":
    """A cell or a title of a table for the terminal, in which brackets are no mark-up."""
    from rich.text import Text

    return Text(for_terminal(text))


def say(line: object, *, as_error: bool = False) -> None:
    """Print one line.

    Args:
        line: Whatever is in it, it stays one line.
        as_error: On the stream for errors and progress.
    """
    print(for_terminal(line), file=sys.stderr if as_error else sys.stdout, flush=as_error)


def can_say_anything(*streams: IO[str] | None) -> None:
    """Let streams write what their encoding lacks as Python writes it, instead of failing.

    Args:
        streams: The process's own by default.
    """
    for stream in streams or (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def console(*, width: int | None = None) -> "Console":
    """A terminal that takes text for text: no mark-up, no emoji codes, no colours by guessing.

    Args:
        width: In characters; by default the terminal's own.
    """
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, width=width)
