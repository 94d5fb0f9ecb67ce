"""Text from names and files stays text: in a terminal, a page, a table, a shell and a picture."""

import ast
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from torchedge.exporting.templates import rendered
from torchedge.text import (
    can_say_anything,
    cell,
    console,
    for_code,
    for_comment,
    for_file_name,
    for_markdown,
    for_picture,
    for_shell,
    for_terminal,
    harmless_markdown,
    say,
)

ROOT = Path(__file__).parents[2]
NASTY = [
    "[/red]",
    "[bold]x[/bold] :smile:",
    "\x1b[2J\x1b]0;title\x07",
    "a\rb",
    "a\nb\u2028c\u0085d",
    "\u202eexe.txt\u2066",
    "a\udcff",
    "a\x9b31m\x7f\x00",
]


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_moves_a_cursor_reaches_the_terminal(text):
    shown = for_terminal(text)
    assert shown.isprintable()
    assert shown.encode("utf-8")
    assert for_terminal("größe 網 ½ a b") == "größe 網 ½ a b"


@pytest.mark.parametrize("text", NASTY)
def test_brackets_in_a_name_are_no_mark_up_in_any_console(text):
    """``[/red]`` in a model's name once ended an export after its folder was written."""
    table = Table(title=cell(text))
    table.add_column("name", no_wrap=True)
    table.add_row(cell(text))
    stream = io.StringIO()
    Console(file=stream, width=200, color_system="truecolor", force_terminal=True).print(table)
    assert stream.getvalue().count(for_terminal(text)) == 2


def test_the_consoles_of_the_command_line_take_text_for_text(capsys):
    console(width=80).print("[red]a[/red] :smile: [/b]")
    say("[/red]\x1b[31m\nb")
    assert capsys.readouterr().out.splitlines() == [
        "[red]a[/red] :smile: [/b]",
        "[/red]\\x1b[31m\\nb",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_stream_that_lacks_a_character_does_not_fail(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    can_say_anything(stream)
    stream.write("→ … 網 \udcff")
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding).endswith("\\udcff")


def test_markdown_shows_a_text_and_makes_nothing_of_it():
    shown = for_markdown("a|b `c` <script>x</script> *d* [e](f) ![g](h) _i_ &amp; $j$ k_l\nm")
    assert "|" not in shown.replace("\\|", "")
    assert "`" not in shown.replace("\\`", "")
    assert "<" not in shown
    assert "[" not in shown.replace("\\[", "")
    assert "&amp;amp;" in shown
    assert "k_l" in shown
    assert "\n" not in shown


@pytest.mark.parametrize("text", ["# a", "1. a", "- a", "+ a", "=== a", "--- "])
def test_a_text_at_the_beginning_of_a_line_begins_no_list_and_no_heading(text):
    assert "\\" in for_markdown(text)


@pytest.mark.parametrize("text", ["75.00%", "-3.5 dB", "0.5", "int8, symmetric", "a_b.c"])
def test_numbers_and_names_of_layers_stay_as_they_are(text):
    assert for_markdown(text) == text


def test_code_keeps_its_back_ticks_inside():
    assert for_code("``a`") == "``` ``a` ```"
    assert for_code("a|b") == "`a\\|b`"


def test_somebodys_markdown_has_no_links_pictures_or_html():
    text = harmless_markdown("| a |\n|---|\n| <img src=x> ![p](q) [l](m) \\[n] \\\\[o](p) `c` |")
    assert "<" not in text
    assert text.count("[") == 1
    assert text.count("\n") == 2
    assert "`c`" in text


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_word_of_a_shells_line_is_what_it_was(text):
    text = text.replace("\0", "")
    word = for_shell(text)
    assert "\n" not in word
    command = ["bash", "-c", f"printf '%s' {word}"]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert done.stdout.decode() == (f"./{text}" if text.startswith("-") else text)


@pytest.mark.parametrize("text", ["$(touch x)", "`touch x`", "a'b\"c", "-rf", "a\n```\nrm", "; rm"])
def test_a_name_for_a_folder_holds_nothing_that_a_shell_reads(text):
    assert for_file_name(text).replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert for_file_name(text)[0] not in "-."


@pytest.mark.parametrize("text", ["a */ int x; /*", "a\nint x;", "a\\", "a ??/", "\u202eint"])
def test_a_comment_does_not_end_early(text):
    comment = for_comment(text)
    assert comment.isprintable()
    assert "*/" not in comment
    assert "??/" not in comment
    assert not comment.endswith("\\")


def test_a_dollar_in_a_picture_begins_no_formula():
    assert for_picture("$\\frac$") == "\\$\\frac\\$"


def test_the_readme_of_a_bundle_runs_nothing_of_a_models_name():
    class Platform:
        jetpack, tensorrt = "6.2", (10, 3, 0)

        class device:  # noqa: N801
            name = "board"

    name = "x\n```\n$(touch hacked) `id` <script> | \x1b[31m"
    values = {"name": name, "platform": Platform, "precision": "fp16", "has_half": False}
    text = rendered(
        "torchedge_tensorrt", "README.md.j2", {**values, "opset": "<b>", "oldest": "8.0"}
    )
    assert text.count("```") == 2
    assert "$(touch" not in text.partition("\n")[2]
    assert "<script>" not in text
    assert "<b>" not in text
    assert "\x1b" not in text


MODES = set("rwxab+")


def opens_text(call):
    """Whether a call opens, reads or writes text; modes are constants everywhere here."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    texts = [a.value for a in call.args if isinstance(getattr(a, "value", None), str)]
    modes = [text for text in texts if text and set(text) <= MODES]
    if name in {"read_text", "write_text"}:
        return True
    if name in {"run", "Popen", "check_output"}:
        return any(keyword.arg in {"text", "universal_newlines"} for keyword in call.keywords)
    if name == "NamedTemporaryFile":
        return any("b" not in mode for mode in modes)
    is_builtin = isinstance(call.func, ast.Name)
    return name == "open" and (is_builtin or bool(modes)) and not any("b" in m for m in modes)


def without_encoding(path):
    """Places where the locale decides how text becomes bytes."""
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    for call in filter(opens_text, calls):
        if not any(keyword.arg == "encoding" for keyword in call.keywords):
            yield f"{path.relative_to(ROOT)}:{call.lineno} {ast.unparse(call)[:60]}"


def test_every_file_is_utf_8_whatever_the_locale():
    folders = "torchedge", "exporters", "recipes", "scripts", "benchmarks"
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    own = [path for path in files if "device_scripts" not in path.parts]  # Python 3.6, ASCII only
    assert [place for path in own for place in without_encoding(path)] == []


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
    ],
)
def test_a_terminal_that_lacks_characters_ends_no_command(environment):
    command = [sys.executable, "-m", "torchedge", "targets"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert b"onnx-cpu" in done.stdout
