"""Raspberry Pis and Android phones, which run TFLite files by LiteRT."""

from functools import partial
from typing import cast, get_args

from torchedge.backends import TFLITE
from torchedge.devices import ANDROID_PHONE, RASPBERRY_PIS, Device
from torchedge.errors import UnknownNameError
from torchedge.exporting.target import Target
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.process import Precision
from torchedge_tflite.step import OnnxToTFLite

__all__ = ["ANDROID", "RASPBERRY_PI_4", "RASPBERRY_PI_5", "tflite_target"]


def tflite_target(name: str, device: Device, precision: Precision = "int8") -> Target:
    """A target for a device with LiteRT, in one of TFLite's precisions.

    Example:
        >>> from torchedge.devices import ANDROID_PHONE
        >>> tflite_target("android", ANDROID_PHONE, "float16").summary
        'TFLite float16, run by LiteRT'
    """
    return Target(
        name=name,
        device=device,
        scheme=TFLITE,
        steps=(TorchToOnnx(), OnnxToTFLite(precision=precision)),
        summary=f"TFLite {precision}, run by LiteRT",
        runs_float=precision != "int8",
        calibrates=precision == "int8",
        configure=partial(_configured, name, device),
    )


def _configured(name: str, device: Device, *, jetpack: str | None, precision: str | None) -> Target:
    if jetpack is not None:
        raise UnknownNameError(f"{name} has no JetPack; leave --jetpack out.")
    known = get_args(Precision)
    if precision is not None and precision not in known:
        raise UnknownNameError(
            f"'{precision}' is no precision of {name}; there are {', '.join(known)}."
        )
    return tflite_target(name, device, cast(Precision, precision or "int8"))


RASPBERRY_PI_4 = tflite_target("raspberry-pi-4", RASPBERRY_PIS["raspberry-pi-4"])
RASPBERRY_PI_5 = tflite_target("raspberry-pi-5", RASPBERRY_PIS["raspberry-pi-5"])
ANDROID = tflite_target("android", ANDROID_PHONE)
