"""Raspberry Pis and Android phones, which run TFLite files by LiteRT."""

from torchedge.backends import TFLITE
from torchedge.devices import ANDROID_PHONE, RASPBERRY_PIS, Device
from torchedge.export.target import Target
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.step import OnnxToTFLite

__all__ = ["ANDROID", "RASPBERRY_PI_4", "RASPBERRY_PI_5"]


def _litert(name: str, device: Device) -> Target:
    return Target(
        name=name,
        device=device,
        scheme=TFLITE,
        steps=(TorchToOnnx(), OnnxToTFLite()),
        summary="TFLite int8, run by LiteRT",
    )


RASPBERRY_PI_4 = _litert("raspberry-pi-4", RASPBERRY_PIS["raspberry-pi-4"])
RASPBERRY_PI_5 = _litert("raspberry-pi-5", RASPBERRY_PIS["raspberry-pi-5"])
ANDROID = _litert("android", ANDROID_PHONE)
