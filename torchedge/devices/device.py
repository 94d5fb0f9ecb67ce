"""What is known about a device before anything runs on it."""

from dataclasses import dataclass
from typing import final

__all__ = ["Device"]


@final
@dataclass(frozen=True, kw_only=True)
class Device:
    """Facts about one board. ``None`` means that no source was found, never zero.

    Args:
        name: As the vendor writes it.
        ram_bytes: Memory that programs and the accelerator share or own.
        flash_bytes: Program memory, where there is such a thing.
        clock_hz: Clock of the core that computes.
        peak_int8_ops_per_s: Dense 8-bit operations a second (a multiply-add is two).
        memory_bytes_per_s: Peak memory bandwidth.
        source: Where the facts come from.
    """

    name: str
    ram_bytes: int | None
    flash_bytes: int | None = None
    clock_hz: float | None = None
    peak_int8_ops_per_s: float | None = None
    memory_bytes_per_s: float | None = None
    source: str
