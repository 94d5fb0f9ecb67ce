"""Phones, of which only is known what all of them have in common."""

from torchedge.devices.device import Device

__all__ = ["ANDROID_PHONE"]

ANDROID_PHONE = Device(
    name="Android phone",
    ram_bytes=None,
    source="none: memory, clock and bandwidth differ from phone to phone",
)
