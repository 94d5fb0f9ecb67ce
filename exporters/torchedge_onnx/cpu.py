"""What this processor does with 8-bit products."""

import platform
from pathlib import Path

__all__ = ["may_saturate"]

_CPU_INFO = Path("/proc/cpuinfo")


def may_saturate(machine: str | None = None, cpu_info: str | None = None) -> bool:
    """Whether ONNX Runtime's default int8 kernels may saturate 16-bit sums on this processor.

    x86 processors without VNNI add pairs of u8·s8 products in 16 bits. Where that cannot be ruled
    out the answer is yes.

    Args:
        machine: Architecture; defaults to this machine's.
        cpu_info: Text in the format of ``/proc/cpuinfo``; defaults to this machine's.

    Example:
        >>> may_saturate("x86_64", "flags : avx2"), may_saturate("x86_64", "flags : avx2 avx_vnni")
        (True, False)
        >>> may_saturate("aarch64", "")
        False
    """
    machine = platform.machine() if machine is None else machine
    if machine.lower() not in {"x86_64", "amd64", "i686", "x86"}:
        return False
    if cpu_info is None:
        cpu_info = _CPU_INFO.read_text(encoding="utf-8") if _CPU_INFO.exists() else ""
    return not {"avx512_vnni", "avx_vnni"} & set(cpu_info.split())
