"""What the README and the guides print for pasting runs, and prints what they say."""

import pytest

from tests.docs.pages import GUIDES, PAGES, blocks, run_page


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_python_of_a_guide_runs_from_top_to_bottom_and_prints_what_it_says(
    page, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_that_is_meant_to_be_pasted_has_a_prompt_or_leaves_something_out(page):
    for block in blocks(page):
        if block.language in {"python", "sh"}:
            assert ">>>" not in block.text, f"{page.name}:{block.line}"
            assert "…" not in block.text, f"{page.name}:{block.line}"
