"""NVIDIA Jetson modules."""

from torchedge.devices.device import Device

__all__ = ["JETSONS"]

_GIB = 2**30
_SOURCE = "NVIDIA Jetson module data sheets (memory and bandwidth); TensorRT support matrix"

JETSONS: dict[str, Device] = {
    "jetson-nano": Device(
        name="Jetson Nano", ram_bytes=4 * _GIB, memory_bytes_per_s=25.6e9, source=_SOURCE
    ),
    "jetson-tx2": Device(
        name="Jetson TX2", ram_bytes=8 * _GIB, memory_bytes_per_s=59.7e9, source=_SOURCE
    ),
    "jetson-xavier-nx": Device(
        name="Jetson Xavier NX", ram_bytes=8 * _GIB, memory_bytes_per_s=59.7e9, source=_SOURCE
    ),
    "jetson-agx-xavier": Device(
        name="Jetson AGX Xavier", ram_bytes=32 * _GIB, memory_bytes_per_s=136.5e9, source=_SOURCE
    ),
    "jetson-orin-nano": Device(
        name="Jetson Orin Nano", ram_bytes=8 * _GIB, memory_bytes_per_s=68e9, source=_SOURCE
    ),
    "jetson-orin-nx": Device(
        name="Jetson Orin NX", ram_bytes=16 * _GIB, memory_bytes_per_s=102.4e9, source=_SOURCE
    ),
    "jetson-agx-orin": Device(
        name="Jetson AGX Orin", ram_bytes=64 * _GIB, memory_bytes_per_s=204.8e9, source=_SOURCE
    ),
    "jetson-thor": Device(
        name="Jetson AGX Thor", ram_bytes=128 * _GIB, memory_bytes_per_s=273e9, source=_SOURCE
    ),
}
