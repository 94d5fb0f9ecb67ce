import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchedge.cli import main
from torchedge.errors import ArtifactError, CalibrationError
from torchedge_tensorrt.calibration_cache import (
    cache_differences,
    format_cache,
    header_version,
    parse_cache,
    read_cache,
    unusable_scales,
)

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
        "input: 3c010a1g",
        "input: -3c010a1",
        "input: 3c01 0a14",
        "input:3c010a14",
        "input: 0x3c010a",
        "input: ٠٠٠٠٠٠٠٠",
        " ",
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


HEADER = "TRT-8401-EntropyCalibration2\n"


@pytest.mark.parametrize("digits", ["0", "00000000", "0000", "0x0"])
def test_a_scale_of_zero_is_read_kept_and_said(tmp_path, capsys, digits: str) -> None:
    path = tmp_path / "zero.cache"
    path.write_text(f"{HEADER}input: 3caa54fc\n366: {digits}\n")
    assert read_cache(path)[1]["366"] == 0
    assert main(["calibration", "show", str(path)]) == 0
    assert "warning: '366' has the scale 0" in capsys.readouterr().out
    out = tmp_path / "new.cache"
    assert main(["calibration", "convert", str(path), str(out), "--tensorrt", "10.3.0"]) == 0
    assert out.read_text() == ("TRT-100300-EntropyCalibration2\ninput: 3caa54fc\n366: 00000000\n")
    assert main(["calibration", "diff", str(path), str(out)]) == 0


def test_our_own_caches_hold_no_zero_unless_it_is_asked_for() -> None:
    with pytest.raises(CalibrationError, match="'a' is 0"):
        format_cache({"a": 0.0}, (8, 4, 1))
    with pytest.raises(CalibrationError, match="'a' is 1e-46"):
        format_cache({"a": 1e-46}, (8, 4, 1), zeros=True)


@pytest.mark.parametrize("text", ["{0}\n", "\n{0}", "{0}\n\n\n", "{0}"])
def test_empty_lines_are_passed_over(text: str) -> None:
    lines = text.format("a: 3f800000")
    assert parse_cache(HEADER + lines) == (HEADER.strip(), {"a": 1.0})


def test_windows_line_ends_are_read(tmp_path) -> None:
    path = tmp_path / "windows.cache"
    path.write_bytes(f"{HEADER}a b: c: 3f800000\n\n".replace("\n", "\r\n").encode())
    assert read_cache(path) == (HEADER.strip(), {"a b: c": 1.0})


@pytest.mark.parametrize("digits", ["3C010A14", "0x3c010a14", "0X3C010A14", "3c010a14 "])
def test_digits_in_other_clothes_are_the_same_scale(digits: str) -> None:
    assert parse_cache(f"{HEADER}a: {digits}\n")[1] == {"a": float_of_bits("3c010a14")}


def test_a_tensor_with_two_scales_is_refused_and_one_that_is_told_twice_is_not() -> None:
    assert parse_cache(f"{HEADER}a: 3f800000\na: 3f800000\n")[1] == {"a": 1.0}
    assert math.isnan(parse_cache(f"{HEADER}a: 7fc00000\na: 7fc00000\n")[1]["a"])
    with pytest.raises(ArtifactError, match=r"line 3 .* gives 'a' the scale 2 after 1"):
        parse_cache(f"{HEADER}a: 3f800000\na: 40000000\n")


@pytest.mark.parametrize(
    "header", ["input: 3c010a14", "TRT-8401", "TRT--EntropyCalibration2", "TRT-8401-", "\ufeff"]
)
def test_a_file_without_a_header_is_refused_with_an_example(header: str) -> None:
    with pytest.raises(ArtifactError, match="for example, TRT-8502-EntropyCalibration2"):
        parse_cache(f"{header}\na: 3f800000\n")


@pytest.mark.parametrize(
    ("one", "other", "lines"),
    [
        (math.nan, 1.0, 1),
        (1.0, math.nan, 1),
        (math.nan, math.nan, 0),
        (0.0, 1.0, 1),
        (1.0, 0.0, 1),
        (0.0, 0.0, 0),
        (math.inf, 1.0, 1),
        (math.inf, math.inf, 0),
        (1.0, 1.0, 0),
    ],
)
@pytest.mark.parametrize("at_least", [0.0, 0.5])
def test_nan_zero_and_infinity_differ_from_every_other_number(
    one: float, other: float, lines: int, at_least: float
) -> None:
    assert len(cache_differences({"a": one}, {"a": other}, at_least=at_least)) == lines


def test_the_command_says_that_nan_is_no_number(tmp_path, capsys) -> None:
    nan, number = tmp_path / "nan.cache", tmp_path / "number.cache"
    nan.write_text(f"{HEADER}a: 7fc00000\n")
    number.write_text(f"{HEADER}a: 3c009976\n")
    assert main(["calibration", "diff", str(nan), str(number)]) == 1
    assert "a: nan →" in capsys.readouterr().out
    assert main(["calibration", "show", str(nan)]) == 0
    assert "'a' has the scale nan, no positive number" in capsys.readouterr().out
    words = ["calibration", "convert", str(nan), str(tmp_path / "out"), "--tensorrt", "10.3.0"]
    assert main(words) == 2
    assert not (tmp_path / "out").exists()


def test_only_scales_that_cannot_be_used_are_told() -> None:
    assert unusable_scales({"a": 0.5, "b": 1e-38}) == ()
    assert len(unusable_scales({"a": -1.0, "b": math.inf, "c": math.nan, "d": 0.0})) == 4
