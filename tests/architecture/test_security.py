"""SECURITY.md claims nothing that no test shows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
CLAIMS = TEXT.partition("## What an artefact cannot do")[2].partition("## What is not defended")[0]
BULLETS = [" ".join(part.split()) for part in re.split(r"^- ", CLAIMS, flags=re.MULTILINE)[1:]]


def names_of_tests():
    for file in (ROOT / "tests").rglob("test_*.py"):
        yield from re.findall(r"^def (test_\w+)\(", file.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("bullet", BULLETS)
def test_every_claim_names_tests_that_exist(bullet):
    named = re.findall(r"`(test_\w+)`", bullet)
    assert named, bullet
    assert set(named) <= set(names_of_tests())


def test_a_page_about_safety_says_how_to_report_and_what_is_not_defended():
    assert len(BULLETS) >= 15
    assert "private vulnerability report" in TEXT
    assert "@" not in TEXT
