"""Microcontrollers, which run TFLite files by TensorFlow Lite Micro."""

from torchedge.backends import TFLITE
from torchedge.exporting.target import Budget, Target
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.step import OnnxToTFLite
from torchedge_tflite_micro.boards import BOARDS
from torchedge_tflite_micro.step import TFLiteToMicro

__all__ = ["ARDUINO_NANO_33_BLE", "ESP32", "ESP32_S3", "RP2040", "STM32F4", "STM32H7"]


def _micro(name: str) -> Target:
    board = BOARDS[name]
    return Target(
        name=name,
        device=board.device,
        scheme=TFLITE,
        steps=(TorchToOnnx(), OnnxToTFLite(), TFLiteToMicro(board=board)),
        budget=Budget(flash_bytes=board.flash_bytes, ram_bytes=board.ram_bytes),
        calibrates=True,
        summary="TensorFlow Lite Micro int8 project",
    )


ARDUINO_NANO_33_BLE = _micro("arduino-nano-33-ble")
ESP32 = _micro("esp32")
ESP32_S3 = _micro("esp32-s3")
STM32H7 = _micro("stm32h7")
STM32F4 = _micro("stm32f4")
RP2040 = _micro("rp2040")
