"""Any name becomes a C++ name; a compiler is asked, not a list."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchedge_tflite_micro.names import c_identifier, c_string, class_constants

TROUBLE = [
    "class",
    "std",
    "main",
    "linux",
    "unix",
    "3 net",
    "größe",
    "-",
    "",
    "a__b",
    "_X",
    "☃",
    "tflite",
]


@given(st.text())
def test_a_name_begins_with_a_letter_and_has_no_double_underscore(name):
    found = c_identifier(name)
    assert found.isidentifier()
    assert found.isascii()
    assert found[0].isalpha()
    assert "__" not in found


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_a_compiler_takes_every_name_as_a_namespace(tmp_path):
    lines = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>"]
    lines += [f"namespace {c_identifier(name)} {{ int x; }}" for name in TROUBLE]
    (tmp_path / "names.cpp").write_text("\n".join(lines).replace("int x", "extern int x"))
    command = ["g++", "-std=gnu++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "names.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_string_keeps_its_bytes(text):
    literal = c_string(text)
    assert literal.isascii()
    assert "??" not in literal
    assert "\n" not in literal
    escaped = literal[1:-1].replace("\\?", "?")
    assert escaped.encode().decode("unicode_escape").encode("latin-1") == text.encode()


def test_classes_without_a_letter_get_a_name():
    assert class_constants(["+", "3"]) == ("CLASS_UNNAMED", "CLASS_3")
