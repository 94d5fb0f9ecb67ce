"""TensorRT's calibration cache, byte for byte.

The first line is ``TRT-<version>-EntropyCalibration2``; every other line is ``<tensor>: <hex>``,
the big-endian bits of the float32 scale ``amax / 127``.
"""

import struct
from collections.abc import Mapping

from torchedge.errors import ArtifactError, CalibrationError

__all__ = ["format_cache", "header_version", "parse_cache"]

_ALGORITHM = "EntropyCalibration2"
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


def format_cache(scales: Mapping[str, float], version: tuple[int, int, int]) -> str:
    """Text of a cache for a TensorRT version, one line for each tensor in the order given.

    Raises:
        CalibrationError: A scale is zero, negative or NaN, or too small or large for float32.

    Example:
        >>> print(format_cache({"input": 0.007875938}, (10, 3, 0)), end="")
        TRT-100300-EntropyCalibration2
        input: 3c010a14
    """
    lines = [f"TRT-{header_version(version)}-{_ALGORITHM}"]
    for name, scale in scales.items():
        packed = struct.pack(">f", scale) if 0 < scale <= _LARGEST_FLOAT32 else bytes(4)
        if packed == bytes(4):
            raise CalibrationError(
                f"the scale of '{name}' is {scale}; it must be a positive float32 number."
            )
        lines.append(f"{name}: {packed.hex()}")
    return "\n".join(lines) + "\n"


def parse_cache(text: str) -> tuple[str, dict[str, float]]:
    r"""Header and scales of a cache; names may contain colons, slashes and spaces.

    Raises:
        ArtifactError: The header or a line does not have the form of a cache.

    Example:
        >>> parse_cache("TRT-8502-EntropyCalibration2\n/a: b: 3c010a14\n")[1]
        {'/a: b': 0.007875937968492508}
    """
    header, *lines = text.removesuffix("\n").split("\n")
    if not (header.startswith("TRT-") and header.count("-") == 2):
        raise ArtifactError(f"a calibration cache cannot start with {header[:60]!r}.")
    scales = {}
    for number, line in enumerate(lines, start=2):
        name, separator, digits = line.rpartition(": ")
        try:
            scales[name] = float(struct.unpack(">f", bytes.fromhex(digits))[0])
        except (ValueError, struct.error):
            separator = ""
        if not separator:
            raise ArtifactError(f"line {number} of the calibration cache is {line[:60]!r}.")
    return header, scales
