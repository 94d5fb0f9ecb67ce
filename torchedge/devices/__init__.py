"""Devices as data: facts, each with its source."""

from torchedge.devices.device import Device
from torchedge.devices.host import HOST
from torchedge.devices.jetson import JETSONS

__all__ = ["HOST", "JETSONS", "Device"]
