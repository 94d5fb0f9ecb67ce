"""What each board's GPU and its JetPacks can do.

From NVIDIA's JetPack release notes and the TensorRT support matrices. The GPUs of Nano and TX2 have
no 8-bit arithmetic: TensorRT accepts INT8 there, warns, and runs it slower than FP16.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

from torchedge.devices import JETSONS, Device
from torchedge.errors import SchemeError, UnknownNameError
from torchedge_tensorrt.jetpacks import JETPACKS, Version, newest_opset

__all__ = ["PLATFORMS", "Platform", "Precision", "require_precision", "with_jetpack"]

Precision: TypeAlias = Literal["int8", "fp16"]


@final
@dataclass(frozen=True, kw_only=True)
class Platform:
    """A board with its software.

    Args:
        device: The board.
        compute_capability: Of its GPU, for example ``8.7``; empty where it is any GPU.
        int8: Whether the GPU multiplies 8-bit integers natively.
        fp8: Whether it multiplies 8-bit floats; known, and used by no step.
        dla_cores: Deep-learning accelerators, the most any memory variant has.
        jetpack: The JetPack this bundle is made for; empty for a PC.
        jetpacks: Every JetPack that runs on the board.
        tensorrt: TensorRT of that JetPack.
        model_names: Words of ``/proc/device-tree/model`` that tell the board; empty for a PC.
    """

    device: Device
    compute_capability: str
    int8: bool
    fp8: bool = False
    dla_cores: int
    jetpack: str
    jetpacks: tuple[str, ...] = ()
    tensorrt: Version
    model_names: tuple[str, ...] = ()

    @property
    def opset(self) -> int:
        """Newest opset that its TensorRT reads."""
        return newest_opset(self.tensorrt)

    @property
    def best_precision(self) -> Precision:
        """INT8 where the GPU has it."""
        return "int8" if self.int8 else "fp16"


def with_jetpack(platform: Platform, jetpack: str) -> Platform:
    """The same board with another JetPack.

    Raises:
        UnknownNameError: The board never had that JetPack.

    Example:
        >>> with_jetpack(PLATFORMS["jetson-orin-nano"], "5.1").tensorrt
        (8, 5, 2)
    """
    known = _major_and_minor(jetpack)
    if known not in platform.jetpacks:
        raise UnknownNameError(
            f"{platform.device.name} has no JetPack '{jetpack}'; it runs "
            f"{', '.join(platform.jetpacks) or 'none: leave --jetpack out'}."
        )
    return replace(platform, jetpack=known, tensorrt=JETPACKS[known].tensorrt)


def _major_and_minor(jetpack: str) -> str:
    return ".".join(jetpack.split(".")[:2])


def require_precision(platform: Platform, precision: Precision) -> None:
    """Refuse INT8 where it would be slower than FP16.

    Raises:
        SchemeError: The GPU has no 8-bit arithmetic.
    """
    if precision == "int8" and not platform.int8:
        raise SchemeError(
            f"the GPU of {platform.device.name} (compute capability "
            f"{platform.compute_capability}) has no INT8 arithmetic: TensorRT would accept INT8 "
            "and run it slower than FP16. Leave --precision out, which gives FP16."
        )


def _board(
    name: str,
    capability: str,
    jetpack: str,
    jetpacks: tuple[str, ...],
    *model_names: str,
    int8: bool = True,
    fp8: bool = False,
    dla_cores: int = 0,
) -> Platform:
    return Platform(
        device=JETSONS[name],
        compute_capability=capability,
        int8=int8,
        fp8=fp8,
        dla_cores=dla_cores,
        jetpack=jetpack,
        jetpacks=jetpacks,
        tensorrt=JETPACKS[jetpack].tensorrt,
        model_names=model_names,
    )


_XAVIER = ("4.6", "5.0", "5.1")
_ORIN = ("5.0", "5.1", "6.0", "6.1", "6.2", "7.2")
_THOR = ("7.0", "7.1", "7.2")

_DESKTOP = Device(
    name="PC with an NVIDIA GPU",
    ram_bytes=None,
    source="whatever GPU builds the engine; TensorRT 10 needs compute capability 7.0 or newer",
)

PLATFORMS: dict[str, Platform] = {
    "jetson-nano": _board("jetson-nano", "5.3", "4.6", ("4.6",), "Jetson Nano", int8=False),
    "jetson-tx2": _board("jetson-tx2", "6.2", "4.6", ("4.6",), "TX2", "quill", int8=False),
    "jetson-xavier-nx": _board("jetson-xavier-nx", "7.2", "5.1", _XAVIER, "Xavier NX", dla_cores=2),
    "jetson-agx-xavier": _board(
        "jetson-agx-xavier", "7.2", "5.1", _XAVIER, "AGX Xavier", "Jetson-AGX", dla_cores=2
    ),
    "jetson-orin-nano": _board("jetson-orin-nano", "8.7", "6.2", _ORIN, "Orin Nano"),
    "jetson-orin-nx": _board("jetson-orin-nx", "8.7", "6.2", _ORIN, "Orin NX", dla_cores=2),
    "jetson-agx-orin": _board("jetson-agx-orin", "8.7", "6.2", _ORIN, "AGX Orin", dla_cores=2),
    "jetson-thor": _board("jetson-thor", "11.0", "7.0", _THOR, "Thor", fp8=True),
    "desktop-gpu": Platform(
        device=_DESKTOP,
        compute_capability="",
        int8=True,
        fp8=False,
        dla_cores=0,
        jetpack="",
        tensorrt=(10, 13, 0),
    ),
}
