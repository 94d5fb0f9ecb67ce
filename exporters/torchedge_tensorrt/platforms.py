"""What each Jetson's GPU and its last JetPack can do.

From NVIDIA's JetPack release notes and the TensorRT support matrices. Nano and TX2 are listed so
that their lack of 8-bit arithmetic is on record: TensorRT accepts INT8 there and runs it slower
than FP16.
"""

from dataclasses import dataclass
from typing import final

from torchedge.devices import JETSONS, Device

__all__ = ["PLATFORMS", "Platform"]


@final
@dataclass(frozen=True, kw_only=True)
class Platform:
    """A board with its software.

    Args:
        device: The board.
        compute_capability: Of its GPU, for example ``8.7``.
        int8: Whether the GPU multiplies 8-bit integers natively.
        dla_cores: Deep-learning accelerators, the most any memory variant has.
        jetpack: The JetPack this bundle is made for.
        tensorrt: TensorRT of that JetPack.
    """

    device: Device
    compute_capability: str
    int8: bool
    dla_cores: int
    jetpack: str
    tensorrt: tuple[int, int, int]


PLATFORMS: dict[str, Platform] = {
    "jetson-nano": Platform(
        device=JETSONS["jetson-nano"],
        compute_capability="5.3",
        int8=False,
        dla_cores=0,
        jetpack="4.6",
        tensorrt=(8, 2, 1),
    ),
    "jetson-tx2": Platform(
        device=JETSONS["jetson-tx2"],
        compute_capability="6.2",
        int8=False,
        dla_cores=0,
        jetpack="4.6",
        tensorrt=(8, 2, 1),
    ),
    "jetson-xavier-nx": Platform(
        device=JETSONS["jetson-xavier-nx"],
        compute_capability="7.2",
        int8=True,
        dla_cores=2,
        jetpack="5.1",
        tensorrt=(8, 5, 2),
    ),
    "jetson-agx-xavier": Platform(
        device=JETSONS["jetson-agx-xavier"],
        compute_capability="7.2",
        int8=True,
        dla_cores=2,
        jetpack="5.1",
        tensorrt=(8, 5, 2),
    ),
    "jetson-orin-nano": Platform(
        device=JETSONS["jetson-orin-nano"],
        compute_capability="8.7",
        int8=True,
        dla_cores=0,
        jetpack="6.2",
        tensorrt=(10, 3, 0),
    ),
    "jetson-orin-nx": Platform(
        device=JETSONS["jetson-orin-nx"],
        compute_capability="8.7",
        int8=True,
        dla_cores=2,
        jetpack="6.2",
        tensorrt=(10, 3, 0),
    ),
    "jetson-agx-orin": Platform(
        device=JETSONS["jetson-agx-orin"],
        compute_capability="8.7",
        int8=True,
        dla_cores=2,
        jetpack="6.2",
        tensorrt=(10, 3, 0),
    ),
    "jetson-thor": Platform(
        device=JETSONS["jetson-thor"],
        compute_capability="11.0",
        int8=True,
        dla_cores=0,
        jetpack="7.0",
        tensorrt=(10, 13, 0),
    ),
}
