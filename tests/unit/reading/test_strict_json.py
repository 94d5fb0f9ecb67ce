"""What Python's reader lets through, and this one does not."""

import pytest

from torchedge.reading.strict_json import canonical_json, strict_json


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "[1, NaN]"])
def test_a_number_that_is_not_finite_is_no_json(text):
    with pytest.raises(ValueError, match=r"no number of JSON|no finite number"):
        strict_json(text)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"c": 1, "c": 1}}]'])
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(ValueError, match="stands twice"):
        strict_json(text)


@pytest.mark.parametrize(
    "text", ["[" * 65 + "]" * 65, "[" * 100_000, '{"a":' * 70 + "1" + "}" * 70]
)
def test_deep_nesting_is_refused_and_does_not_exhaust_the_stack(text):
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        strict_json(text)


@pytest.mark.parametrize("text", ["9" * 1_000_000, str(2**64), str(-(2**63) - 1)])
def test_an_integer_of_more_than_64_bits_is_refused(text):
    with pytest.raises(ValueError, match="no integer of 64 bits"):
        strict_json(text)


def test_half_of_a_character_is_refused():
    with pytest.raises(ValueError, match="surrogates"):
        strict_json(r'["\ud800"]')


def test_a_long_text_is_refused_before_it_is_parsed():
    with pytest.raises(ValueError, match="more than 10"):
        strict_json("[1, 2, 3, 4]", most_bytes=10)


def test_what_is_left_reads_as_with_pythons_own_reader():
    tree = {"b": [1, -2.5, None, True, "ä"], "a": {"c": 2**63}}
    assert strict_json(canonical_json(tree)) == tree
