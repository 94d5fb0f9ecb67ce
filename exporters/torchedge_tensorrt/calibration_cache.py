"""TensorRT's calibration cache, byte for byte.

The first line is ``TRT-<version>-EntropyCalibration2``; every other line is ``<tensor>: <hex>``,
the big-endian bits of the float32 scale ``amax / 127``.
"""

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from torchedge.errors import ArtifactError, CalibrationError, UnknownNameError
from torchedge.reading.files import read_bounded

__all__ = [
    "LEVELS",
    "cache_differences",
    "format_cache",
    "header_version",
    "parse_cache",
    "parsed_version",
    "read_cache",
    "unusable_scales",
]

_ALGORITHM = "EntropyCalibration2"
LEVELS = 127  # amax = LEVELS · scale
_LARGEST_CACHE = 64 * 2**20

_DIGITS = "(0[xX])?([0-9a-fA-F]{8}|0{1,7})"
_FIRST_MAJOR_WITH_TWO_DIGITS = 10
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


def header_version(version: tuple[int, int, int]) -> int:
    """The number in the header: ``M·1000 + m·100 + p`` before TensorRT 10, then ``M·10000 + …``.

    Example:
        >>> header_version((8, 5, 2)), header_version((10, 3, 0))
        (8502, 100300)
    """
    major, minor, patch = version
    unit = 10_000 if major >= _FIRST_MAJOR_WITH_TWO_DIGITS else 1_000
    return major * unit + minor * 100 + patch


def parsed_version(text: str) -> tuple[int, int, int]:
    """Three numbers of a version as TensorRT writes it.

    Raises:
        UnknownNameError: The text holds no such numbers.

    Example:
        >>> parsed_version("10.3.0.30"), parsed_version("8.5")
        ((10, 3, 0), (8, 5, 0))
    """
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,2})(?:\.(\d{1,2}))?(?:\.\d+)?", text, re.ASCII)
    if found is None:
        raise UnknownNameError(f"'{text}' is no version of TensorRT; write it as 10.3.0.")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major, minor, patch


def format_cache(
    scales: Mapping[str, float],
    version: tuple[int, int, int],
    *,
    algorithm: str = _ALGORITHM,
    zeros: bool = False,
) -> str:
    """Text of a cache for a TensorRT version, one line for each tensor in the order given.

    Args:
        scales: By name of the tensor.
        version: Of the TensorRT that will read it.
        algorithm: What TensorRT calls the calibrator that made it.
        zeros: Also write scales of zero, which TensorRT gives tensors that are zero throughout.

    Raises:
        CalibrationError: A scale is zero, negative or NaN, or too small or large for float32.

    Example:
        >>> print(format_cache({"input": 0.007875938}, (10, 3, 0)), end="")
        TRT-100300-EntropyCalibration2
        input: 3c010a14
    """
    lines = [f"TRT-{header_version(version)}-{algorithm}"]
    for name, scale in scales.items():
        packed = struct.pack(">f", scale) if 0 < scale <= _LARGEST_FLOAT32 else bytes(4)
        if packed == bytes(4) and not (zeros and scale == 0):
            raise CalibrationError(
                f"the scale of '{name}' is {scale}; it must be a positive float32 number."
            )
        lines.append(f"{name}: {packed.hex()}")
    return "\n".join(lines) + "\n"


def parse_cache(text: str) -> tuple[str, dict[str, float]]:
    r"""Header and scales of a cache; names may contain colons, slashes and spaces.

    A tensor that was zero throughout has the scale 0, which TensorRT writes as one digit. Empty
    lines and Windows' line ends are read too.

    Raises:
        ArtifactError: The header or a line does not have the form of a cache, or a tensor has two
            scales.

    Example:
        >>> parse_cache("TRT-8502-EntropyCalibration2\n/a: b: 3c010a14\nzero: 0\n\n")[1]
        {'/a: b': 0.007875937968492508, 'zero': 0.0}
    """
    header, *lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not re.fullmatch(r"TRT-[^-]+-[^-]+", header):
        raise ArtifactError(
            f"a calibration cache cannot start with {header[:60]!a}; its first line is, for "
            "example, TRT-8502-EntropyCalibration2."
        )
    scales: dict[str, float] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        name, separator, digits = line.rpartition(": ")
        if not separator or not re.fullmatch(_DIGITS, digits.strip(), re.ASCII):
            raise ArtifactError(
                f"line {number} of the calibration cache is {line[:60]!a}, not a name, a colon and "
                "eight hexadecimal digits; copy the cache again."
            )
        scale = _scale(digits.strip())
        if name in scales and _bits(scales[name]) != _bits(scale):
            raise ArtifactError(
                f"line {number} of the calibration cache gives '{name[:60]}' the scale {scale:g} "
                f"after {scales[name]:g}; calibrate again."
            )
        scales[name] = scale
    return header, scales


def _scale(digits: str) -> float:
    bits = int(digits, 16)
    return float(struct.unpack(">f", bits.to_bytes(4, "big"))[0])


def _bits(scale: float) -> bytes:
    return struct.pack(">f", scale)


def unusable_scales(scales: Mapping[str, float]) -> tuple[str, ...]:
    """A sentence for each scale that nothing can be quantised with.

    Example:
        >>> unusable_scales({"a": 0.5, "b": 0.0})
        ("'b' has the scale 0: it was zero throughout the calibration",)
    """
    lines = []
    for name, scale in scales.items():
        if scale == 0:
            lines.append(f"'{name}' has the scale 0: it was zero throughout the calibration")
        elif not 0 < scale < math.inf:
            lines.append(f"'{name}' has the scale {scale:g}, no positive number; calibrate again")
    return tuple(lines)


def read_cache(path: Path) -> tuple[str, dict[str, float]]:
    """Header and scales of a cache file, of this package or written by TensorRT.

    Raises:
        ArtifactError: There is no such file, or it is no calibration cache.
    """
    if not path.is_file():
        raise ArtifactError(f"'{path}' is no file; name a calibration cache.")
    try:
        return parse_cache(read_bounded(path, _LARGEST_CACHE).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ArtifactError(f"'{path}' is no text and so no calibration cache.") from error


def cache_differences(
    one: Mapping[str, float], other: Mapping[str, float], *, at_least: float = 0.0
) -> tuple[str, ...]:
    """A line for each tensor that only one has, or whose scales differ.

    Args:
        one: Scales by name.
        other: Scales by name.
        at_least: Relative difference that counts.

    Example:
        >>> cache_differences({"a": 1.0, "b": 1.0}, {"a": 1.5, "b": 1.0})
        ('a: 1 → 1.5 (+50.0%)',)
    """
    lines = [f"{name}: only in the first" for name in one if name not in other]
    for name in (name for name in one if name in other):
        relative = _relative(one[name], other[name])
        if relative and not abs(relative) < at_least:
            lines.append(f"{name}: {one[name]:.6g} → {other[name]:.6g} ({relative:+.1%})")
    return (*lines, *(f"{name}: only in the second" for name in other if name not in one))


def _relative(one: float, other: float) -> float:
    """Relative difference; 0 for the same numbers and the same NaN, NaN beside a number."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    return other / one - 1 if one else math.inf
