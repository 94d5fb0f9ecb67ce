"""Raspberry Pi boards."""

from torchedge.devices.device import Device

__all__ = ["RASPBERRY_PIS"]

_GIB = 2**30
_LAUNCH = "Raspberry Pi's announcement: processor, clock, and the smallest memory at launch"

RASPBERRY_PIS: dict[str, Device] = {
    "raspberry-pi-4": Device(
        name="Raspberry Pi 4 Model B",
        ram_bytes=1 * _GIB,
        clock_hz=1.5e9,
        source=f"{_LAUNCH} (June 2019: BCM2711, four Cortex-A72)",
    ),
    "raspberry-pi-5": Device(
        name="Raspberry Pi 5",
        ram_bytes=4 * _GIB,
        clock_hz=2.4e9,
        source=f"{_LAUNCH} (September 2023: BCM2712, four Cortex-A76)",
    ),
}
