"""Which software comes with each JetPack, and which ONNX opsets each TensorRT reads."""

from dataclasses import dataclass
from typing import final

__all__ = ["JETPACKS", "JetPack", "Version", "newest_opset", "oldest_tensorrt"]

Version = tuple[int, int, int]

# onnx/onnx-tensorrt, docs/operators.md of each release; what the parser states, not a hard gate.
_OPSETS: tuple[tuple[Version, int], ...] = (
    ((8, 0, 0), 13),
    ((8, 4, 0), 17),
    ((10, 0, 0), 20),
)


@final
@dataclass(frozen=True, kw_only=True)
class JetPack:
    """One release of NVIDIA's software for Jetson.

    Args:
        l4t: Prefix of the Linux for Tegra releases that belong to it.
        tensorrt: Its TensorRT.
        cuda: Its CUDA.
        python: Python of its Ubuntu, which TensorRT's module is made for.
    """

    l4t: tuple[str, ...]
    tensorrt: Version
    cuda: str
    python: str


# NVIDIA's JetPack release notes.
JETPACKS: dict[str, JetPack] = {
    "4.6": JetPack(l4t=("32.6", "32.7"), tensorrt=(8, 2, 1), cuda="10.2", python="3.6"),
    "5.0": JetPack(l4t=("35.1",), tensorrt=(8, 4, 1), cuda="11.4", python="3.8"),
    "5.1": JetPack(
        l4t=("35.2", "35.3", "35.4", "35.5", "35.6"),
        tensorrt=(8, 5, 2),
        cuda="11.4",
        python="3.8",
    ),
    "6.0": JetPack(l4t=("36.2", "36.3"), tensorrt=(8, 6, 2), cuda="12.2", python="3.10"),
    "6.1": JetPack(l4t=("36.4.0",), tensorrt=(10, 3, 0), cuda="12.6", python="3.10"),
    "6.2": JetPack(l4t=("36.4", "36.5"), tensorrt=(10, 3, 0), cuda="12.6", python="3.10"),
    "7.0": JetPack(l4t=("38.2",), tensorrt=(10, 13, 0), cuda="13.0", python="3.12"),
    "7.1": JetPack(l4t=("38.4",), tensorrt=(10, 13, 0), cuda="13.0", python="3.12"),
    "7.2": JetPack(l4t=("39.2",), tensorrt=(10, 16, 2), cuda="13.2", python="3.12"),
}


def newest_opset(tensorrt: Version) -> int:
    """Newest opset that both the parser of this TensorRT states and this package writes.

    Example:
        >>> newest_opset((8, 2, 1)), newest_opset((8, 5, 2)), newest_opset((10, 3, 0))
        (13, 17, 20)
    """
    return max(opset for since, opset in _OPSETS if tensorrt >= since)


def oldest_tensorrt(opset: int) -> Version:
    """Oldest TensorRT whose parser states this opset.

    Example:
        >>> oldest_tensorrt(13), oldest_tensorrt(17), oldest_tensorrt(20)
        ((8, 0, 0), (8, 4, 0), (10, 0, 0))
    """
    return min((since for since, newest in _OPSETS if opset <= newest), default=_OPSETS[-1][0])
