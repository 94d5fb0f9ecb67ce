"""What a program finds on each board beside the chip: partitions, core, stack, kernels."""

from dataclasses import dataclass
from typing import final

from torchedge.devices import MICROCONTROLLERS, Device
from torchedge_tflite_micro.scratch import Kernels

__all__ = ["BOARDS", "Board"]

_KIB, _MIB = 2**10, 2**20
_STACK_BYTES = 4 * _KIB


@final
@dataclass(frozen=True, kw_only=True)
class Board:
    """A microcontroller with the software around a network.

    Args:
        device: Facts about the chip.
        flash_bytes: What is left for a program by boot loader and partitions.
        ram_bytes: What a program may use.
        arena_limit_bytes: The largest piece of it without a gap.
        core_flash_bytes: An empty program with the vendor's core: an estimate, never measured here.
        core_ram_bytes: Its memory, likewise.
        stack_bytes: Of the thread that computes, likewise.
        kernels: The library that the usual build takes its kernels from.
        golden_tolerance: Steps by which the golden test lets an output differ.
        source: Where the limits come from.
    """

    device: Device
    flash_bytes: int
    ram_bytes: int
    arena_limit_bytes: int
    core_flash_bytes: int
    core_ram_bytes: int
    stack_bytes: int = _STACK_BYTES
    kernels: Kernels = "cmsis-nn"
    golden_tolerance: int = 0
    source: str


BOARDS: dict[str, Board] = {
    "arduino-nano-33-ble": Board(
        device=MICROCONTROLLERS["arduino-nano-33-ble"],
        flash_bytes=983_040,
        ram_bytes=256 * _KIB,
        arena_limit_bytes=256 * _KIB,
        core_flash_bytes=80 * _KIB,
        core_ram_bytes=45 * _KIB,
        source="limits of Arduino's mbed_nano core",
    ),
    "esp32": Board(
        device=MICROCONTROLLERS["esp32"],
        flash_bytes=1 * _MIB,
        ram_bytes=320 * _KIB,
        arena_limit_bytes=160 * _KIB,
        core_flash_bytes=160 * _KIB,
        core_ram_bytes=32 * _KIB,
        kernels="esp-nn",
        golden_tolerance=1,
        source="ESP-IDF: partition 'single factory app', 320 KiB of DRAM, half of it static",
    ),
    "esp32-s3": Board(
        device=MICROCONTROLLERS["esp32-s3"],
        flash_bytes=1 * _MIB,
        ram_bytes=512 * _KIB,
        arena_limit_bytes=320 * _KIB,
        core_flash_bytes=160 * _KIB,
        core_ram_bytes=128 * _KIB,
        kernels="esp-nn-s3",
        golden_tolerance=1,
        source="ESP-IDF: partition 'single factory app'; the largest piece is an estimate",
    ),
    "stm32h7": Board(
        device=MICROCONTROLLERS["stm32h7"],
        flash_bytes=2 * _MIB,
        ram_bytes=1 * _MIB,
        arena_limit_bytes=512 * _KIB,
        core_flash_bytes=16 * _KIB,
        core_ram_bytes=4 * _KIB,
        source="ST DS12110: the AXI SRAM is the largest of several memories",
    ),
    "stm32f4": Board(
        device=MICROCONTROLLERS["stm32f4"],
        flash_bytes=512 * _KIB,
        ram_bytes=128 * _KIB,
        arena_limit_bytes=128 * _KIB,
        core_flash_bytes=16 * _KIB,
        core_ram_bytes=4 * _KIB,
        source="ST DS10693",
    ),
    "rp2040": Board(
        device=MICROCONTROLLERS["rp2040"],
        flash_bytes=2 * _MIB,
        ram_bytes=264 * _KIB,
        arena_limit_bytes=256 * _KIB,
        core_flash_bytes=32 * _KIB,
        core_ram_bytes=8 * _KIB,
        source="RP2040 data sheet: four banks of 64 KiB in a row, and two small ones",
    ),
}
