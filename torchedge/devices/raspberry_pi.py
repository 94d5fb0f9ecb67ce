"""Raspberry Pi boards."""

from torchedge.devices.device import Device

__all__ = ["RASPBERRY_PIS"]

_GIB = 2**30
_BRIEF = "Raspberry Pi product brief: processor and clock; the smallest memory that is sold"

RASPBERRY_PIS: dict[str, Device] = {
    "raspberry-pi-4": Device(
        name="Raspberry Pi 4 Model B",
        ram_bytes=1 * _GIB,
        clock_hz=1.5e9,
        source=f"{_BRIEF} (4 Model B: BCM2711, four Cortex-A72)",
    ),
    "raspberry-pi-5": Device(
        name="Raspberry Pi 5",
        ram_bytes=2 * _GIB,
        clock_hz=2.4e9,
        source=f"{_BRIEF} (5: BCM2712, four Cortex-A76)",
    ),
}
