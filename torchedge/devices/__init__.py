"""Devices as data: facts, each with its source."""

from torchedge.devices.device import Device
from torchedge.devices.host import HOST
from torchedge.devices.jetson import JETSONS
from torchedge.devices.microcontroller import EDGE_TPU, MICROCONTROLLERS
from torchedge.devices.phone import ANDROID_PHONE
from torchedge.devices.raspberry_pi import RASPBERRY_PIS

__all__ = [
    "ANDROID_PHONE",
    "EDGE_TPU",
    "HOST",
    "JETSONS",
    "MICROCONTROLLERS",
    "RASPBERRY_PIS",
    "Device",
]
