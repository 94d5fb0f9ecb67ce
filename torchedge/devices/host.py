"""The machine that exports."""

from torchedge.devices.device import Device

__all__ = ["HOST"]

HOST = Device(name="this computer's CPU", ram_bytes=None, source="the operating system")
