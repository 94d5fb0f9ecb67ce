"""TensorRT's own INT8 calibration, where TensorRT 8 to 10 and a GPU are.

TensorRT wants a subclass of its own class, which exists only when its module does; so a function
makes it.
"""

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, MissingDependencyError
from torchedge_tensorrt.api import TensorRT
from torchedge_tensorrt.device_memory import DeviceMemory, device_memory

if TYPE_CHECKING:
    import tensorrt
    from typing_extensions import Buffer

__all__ = ["entropy_calibrator"]


def entropy_calibrator(
    trt: TensorRT,
    batches: Iterable[tuple[Array, ...]],
    *,
    batch_size: int,
    cache: Path | None = None,
    memory: DeviceMemory | None = None,
) -> "tensorrt.IInt8EntropyCalibrator2":
    """An ``IInt8EntropyCalibrator2`` that takes batches from any iterable, one at a time.

    Args:
        trt: NVIDIA's module ``tensorrt``.
        batches: One float32 array for each input of the network, in its order.
        batch_size: Samples in a batch.
        cache: Read where it exists, written after a calibration.
        memory: Default PyTorch's, else CUDA's own; freed when the batches are used up.

    Raises:
        MissingDependencyError: This TensorRT has no calibrators, or there is no GPU.
    """
    if not hasattr(trt, "IInt8EntropyCalibrator2"):
        raise MissingDependencyError(
            f"TensorRT {trt.__version__} has no calibrators; build the Q/DQ model instead."
        )
    place = memory or device_memory()
    waiting = iter(batches)
    of_this_version = trt.IInt8EntropyCalibrator2
    if TYPE_CHECKING:  # mypy can only subclass what it can name
        base: TypeAlias = tensorrt.IInt8EntropyCalibrator2
    else:
        base = of_this_version

    class EntropyCalibrator(base):
        def __init__(self) -> None:
            base.__init__(self)  # pybind's classes want it said

        def get_batch_size(self) -> int:
            return batch_size

        def get_batch(self, names: list[str]) -> list[int]:
            return _uploaded(next(waiting, None), names, batch_size, place)

        def read_calibration_cache(self) -> "Buffer | None":
            return _read(cache)

        def write_calibration_cache(self, written: "Buffer") -> None:
            _write(cache, written)

    made = EntropyCalibrator()
    # Also where TensorRT gave up before the last batch; a process that ends frees all by itself.
    weakref.finalize(made, place.free).atexit = False
    return made


def _read(cache: Path | None) -> bytes | None:
    found = cache.read_bytes() if cache is not None and cache.is_file() else b""
    return found or None


def _write(cache: Path | None, written: "Buffer") -> None:
    if cache is not None:
        partial = cache.with_name(f"{cache.name}.partial")
        partial.write_bytes(bytes(written))
        partial.rename(cache)


def _uploaded(
    batch: tuple[Array, ...] | None, names: list[str], batch_size: int, memory: DeviceMemory
) -> list[int]:
    """Addresses of a batch on the GPU; an empty list ends the calibration."""
    if batch is None:
        memory.free()
        return []
    if len(batch) != len(names) or len(batch[0]) != batch_size:
        raise CalibrationError(
            f"a batch has {len(batch)} arrays of {len(batch[0])} samples; the network has "
            f"{len(names)} inputs ({', '.join(names)}) and takes {batch_size} samples."
        )
    return [
        memory.upload(name, np.ascontiguousarray(values, dtype=np.float32))
        for name, values in zip(names, batch, strict=True)
    ]
