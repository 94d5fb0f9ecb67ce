import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchedge.errors import ArtifactError, CalibrationError
from torchedge_tensorrt.calibration_cache import format_cache, header_version, parse_cache

LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))
SCALES = st.floats(min_value=2.0**-126, max_value=LARGEST_FLOAT32, width=32)

WRITTEN_BY_TENSORRT_10_3 = """\
TRT-100300-EntropyCalibration2
input: 3c010a14
/layer1/layer1.0/relu/Relu_output_0: 3d0b7086
"""


def float_of_bits(digits: str) -> float:
    """IEEE 754 by hand: sign, 8 bits of exponent, 23 bits of fraction, most significant first."""
    bits = int(digits, 16)
    sign, exponent, fraction = bits >> 31, bits >> 23 & 0xFF, bits & 0x7FFFFF
    return (-1) ** sign * (1 + fraction / 2**23) * 2.0 ** (exponent - 127)


def test_a_cache_is_byte_for_byte_what_tensorrt_writes() -> None:
    scales = {
        "input": float_of_bits("3c010a14"),
        "/layer1/layer1.0/relu/Relu_output_0": float_of_bits("3d0b7086"),
    }
    assert format_cache(scales, (10, 3, 0)) == WRITTEN_BY_TENSORRT_10_3


def test_a_cache_that_tensorrt_wrote_is_read_and_written_back_unchanged() -> None:
    header, scales = parse_cache(WRITTEN_BY_TENSORRT_10_3)
    assert header == "TRT-100300-EntropyCalibration2"
    assert scales["input"] == float_of_bits("3c010a14")
    assert format_cache(scales, (10, 3, 0)) == WRITTEN_BY_TENSORRT_10_3


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ((8, 0, 1), 8001),
        ((8, 2, 1), 8201),
        ((8, 4, 12), 8412),
        ((8, 5, 2), 8502),
        ((8, 6, 2), 8602),
    ],
)
def test_a_cache_header_counts_major_times_one_thousand_before_tensorrt_10(
    version: tuple[int, int, int], number: int
) -> None:
    assert header_version(version) == number
    assert format_cache({}, version) == f"TRT-{number}-EntropyCalibration2\n"


@pytest.mark.parametrize(
    ("version", "number"),
    [((10, 0, 1), 100001), ((10, 3, 0), 100300), ((10, 16, 2), 101602)],
)
def test_a_cache_header_counts_major_times_ten_thousand_from_tensorrt_10(
    version: tuple[int, int, int], number: int
) -> None:
    assert header_version(version) == number
    assert format_cache({}, version) == f"TRT-{number}-EntropyCalibration2\n"


def test_a_scale_is_written_with_its_most_significant_byte_first() -> None:
    assert format_cache({"x": 1.0}, (8, 5, 2)).endswith("x: 3f800000\n")
    assert format_cache({"x": 2.0**-7}, (8, 5, 2)).endswith("x: 3c000000\n")


def test_a_scale_is_rounded_to_the_nearest_float32() -> None:
    half_a_step = 2.0**-24
    assert format_cache({"x": 1 + 0.9 * half_a_step}, (8, 5, 2)).endswith("x: 3f800000\n")
    assert format_cache({"x": 1 + 1.1 * half_a_step}, (8, 5, 2)).endswith("x: 3f800001\n")


@given(scales=st.dictionaries(NAMES, SCALES, max_size=5))
def test_any_names_and_scales_survive_a_round_trip(scales: dict[str, float]) -> None:
    header, found = parse_cache(format_cache(scales, (10, 3, 0)))
    assert header == "TRT-100300-EntropyCalibration2"
    assert list(found.items()) == list(scales.items())


@given(scale=SCALES)
def test_the_digits_of_any_scale_are_its_ieee_754_bits(scale: float) -> None:
    digits = format_cache({"x": scale}, (10, 3, 0)).rsplit(": ", 1)[1].strip()
    assert len(digits) == 8
    assert float_of_bits(digits) == scale


@pytest.mark.parametrize(
    "name", ["a: b", "/layer1/relu:0", "(Unnamed Layer* 3) [Constant]", "a\x85b"]
)
def test_a_name_may_hold_colons_slashes_spaces_and_odd_characters(name: str) -> None:
    assert parse_cache(f"TRT-8502-EntropyCalibration2\n{name}: 3f800000\n")[1] == {name: 1.0}


@pytest.mark.parametrize(
    "scale", [0.0, -0.0, -0.1, float("nan"), float("inf"), float("-inf"), 1e-46, 1e39]
)
def test_a_scale_that_is_no_positive_float32_is_refused(scale: float) -> None:
    with pytest.raises(CalibrationError, match=r"'/conv' is .*; it must be a positive"):
        format_cache({"input": 0.1, "/conv": scale}, (10, 3, 0))


def test_the_largest_and_the_smallest_normal_scale_are_written() -> None:
    text = format_cache({"large": LARGEST_FLOAT32, "small": 2.0**-126}, (10, 3, 0))
    assert text.endswith("large: 7f7fffff\nsmall: 00800000\n")


@pytest.mark.parametrize(
    "text", ["", "\n", "input: 3c010a14\n", "TRT-8502\ninput: 3c010a14\n", "PK\x03\x04"]
)
def test_a_text_without_the_header_of_a_cache_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="a calibration cache cannot start with"):
        parse_cache(text)


@pytest.mark.parametrize(
    "line",
    [
        "input 3c010a14",
        "3c010a14",
        "input: ",
        "input: 3c010a",
        "input: 3c010a1400",
        "input: 0.0079",
        "",
    ],
)
def test_a_malformed_line_is_refused_with_its_number(line: str) -> None:
    text = f"TRT-8502-EntropyCalibration2\nfirst: 3f800000\n{line}\nlast: 3f800000\n"
    with pytest.raises(ArtifactError, match="line 3 of the calibration cache"):
        parse_cache(text)


def test_little_endian_digits_would_be_another_number() -> None:
    scale = 0.0123
    digits = format_cache({"x": scale}, (10, 3, 0)).rsplit(": ", 1)[1].strip()
    assert digits == struct.pack(">f", scale).hex() != struct.pack("<f", scale).hex()


@pytest.mark.parametrize("digits", ["7fc00000", "7f800000", "ff800000"])
def test_a_scale_that_is_not_finite_is_no_scale(digits):
    with pytest.raises(ArtifactError, match="line 2 of the calibration cache"):
        parse_cache(f"TRT-8502-EntropyCalibration2\nx: {digits}\n")
