import jinja2
import pytest

from torchedge.exporting.templates import rendered

VALUES = {"title": "a", "mapped": 1, "operators": 2, "left": [{"operator": "X", "reason": "y"}]}


def test_lines_of_statements_leave_no_trace_and_the_last_newline_stays():
    text = rendered("torchedge_edgetpu", "README.md.j2", VALUES)
    assert "| X | y |\n" in text
    assert "\n\n\n" not in text
    assert "{%" not in text
    assert text.endswith("\n")


def test_a_value_that_is_missing_is_an_error_and_not_a_gap():
    incomplete = {name: value for name, value in VALUES.items() if name != "mapped"}
    with pytest.raises(jinja2.UndefinedError, match="mapped"):
        rendered("torchedge_edgetpu", "README.md.j2", incomplete)
