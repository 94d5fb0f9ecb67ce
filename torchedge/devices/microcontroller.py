"""Microcontroller boards, and the Edge TPU."""

from torchedge.devices.device import Device

__all__ = ["EDGE_TPU", "MICROCONTROLLERS"]

_KIB, _MIB = 2**10, 2**20

MICROCONTROLLERS: dict[str, Device] = {
    "arduino-nano-33-ble": Device(
        name="Arduino Nano 33 BLE",
        ram_bytes=256 * _KIB,
        flash_bytes=1 * _MIB,
        clock_hz=64e6,
        peak_int8_ops_per_s=2 * 2 * 64e6,
        source="Nordic nRF52840 product specification (Cortex-M4F; SMLAD: 2 multiply-adds a cycle)",
    ),
    "esp32": Device(
        name="ESP32",
        ram_bytes=520 * _KIB,
        flash_bytes=4 * _MIB,
        clock_hz=240e6,
        source="Espressif ESP32 data sheet; the flash is that of ESP32-WROOM-32 modules",
    ),
    "esp32-s3": Device(
        name="ESP32-S3",
        ram_bytes=512 * _KIB,
        flash_bytes=4 * _MIB,
        clock_hz=240e6,
        peak_int8_ops_per_s=2 * 16 * 240e6,
        source="Espressif ESP32-S3 data sheet (128-bit vectors); modules with 4 MiB of flash",
    ),
    "stm32h7": Device(
        name="STM32H743",
        ram_bytes=1 * _MIB,
        flash_bytes=2 * _MIB,
        clock_hz=480e6,
        peak_int8_ops_per_s=2 * 2 * 480e6,
        source="ST DS12110 (Cortex-M7; SMLAD: 2 multiply-adds a cycle)",
    ),
    "stm32f4": Device(
        name="STM32F446",
        ram_bytes=128 * _KIB,
        flash_bytes=512 * _KIB,
        clock_hz=180e6,
        peak_int8_ops_per_s=2 * 2 * 180e6,
        source="ST DS10693 (Cortex-M4F; SMLAD: 2 multiply-adds a cycle)",
    ),
    "rp2040": Device(
        name="Raspberry Pi Pico (RP2040)",
        ram_bytes=264 * _KIB,
        flash_bytes=2 * _MIB,
        clock_hz=133e6,
        peak_int8_ops_per_s=2 * 133e6,
        source="Raspberry Pi Pico product brief (Cortex-M0+ without vector instructions)",
    ),
}

EDGE_TPU = Device(
    name="Coral Edge TPU",
    ram_bytes=8 * _MIB,
    peak_int8_ops_per_s=4e12,
    source="coral.ai: 4 TOPS; about 8 MB of on-chip memory for parameters",
)
