"""Lines of shell in the README and the guides: each names what exists, with options it takes."""

import importlib.util
import sys

import cyclopts
import pytest

from tests.docs.pages import PAGES, ROOT, commands
from torchedge.cli.app import make_app

_SCRIPTS = {"export", "benchmark", "targets", "compare"}
_OF_THE_SHELL = {"cd", "source", "export", "pip"}
_ON_THE_BOARD = {"build_engine.py", "benchmark.py"}

LINES = [
    pytest.param(words, id=f"{page.stem}-{line}")
    for page in PAGES
    for line, words in commands(page)
]


def parse(app, words):
    """Whether a command line takes these words; nothing is run."""
    app.parse_args(words, exit_on_error=False, print_error=False)


def recipe(path):
    """The command line of a recipe's ``main``, without importing it as a program."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    app = cyclopts.App()
    app.default(module.main)
    return app


def require_command(words):
    """Fail where a line names a file, module, command or option that does not exist."""
    program, *rest = words
    if program == "torchedge":
        parse(make_app(), rest)
    elif program in {"python", "python3"}:
        require_python(rest)
    elif program.startswith("scripts/"):
        assert (ROOT / program).is_file(), program
    elif program not in _OF_THE_SHELL:
        pytest.fail(f"'{program}' is nothing that a reader has.")


def require_python(words):
    what, *rest = words
    if what == "-m":
        assert importlib.util.find_spec(rest[0]) or rest[0] == "benchmarks", rest[0]
    elif what in _ON_THE_BOARD:
        assert (ROOT / "exporters/torchedge_tensorrt/device_scripts" / what).is_file()
    elif what.startswith("benchmarks/"):
        assert (ROOT / what).is_file(), what
    elif what.startswith("recipes/"):
        parse(recipe(ROOT / what), rest)
    else:
        name = what.removeprefix("scripts/").removesuffix(".py")
        assert name in _SCRIPTS, what
        parse(make_app(), [name, *rest])


def pieces(words):
    """The commands of a line that joins several."""
    found = [[]]
    for word in words:
        if word == "&&":
            found.append([])
        else:
            found[-1].append(word)
    return found


@pytest.mark.parametrize("words", LINES)
def test_a_line_of_shell_names_what_exists_with_options_that_it_takes(words):
    for command in pieces(words):
        require_command(command)


@pytest.mark.parametrize(
    "words",
    [
        ["torchedge", "export", "runs/mine", "--targets", "jetson"],
        ["torchedge", "exports", "runs/mine", "--target", "jetson"],
        ["python", "scripts/exports.py"],
        ["python", "recipes/digits.py", "--epoch", "3"],
        ["python", "-m", "benchmarks.nothing"],
        ["scripts/nothing"],
        ["nothing"],
    ],
)
def test_a_line_with_a_misspelt_word_is_found(words):
    with pytest.raises((AssertionError, cyclopts.CycloptsError, pytest.fail.Exception)):
        require_command(words)
