"""TensorRT's own INT8 calibration, where TensorRT 8 to 10 and a GPU are.

TensorRT wants a subclass of its own class, which exists only when its module does; so a function
makes it.
"""

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, MissingDependencyError

__all__ = ["DeviceMemory", "TorchMemory", "entropy_calibrator"]


class DeviceMemory(Protocol):
    """Keeps a copy of arrays on the GPU for as long as TensorRT may read them."""

    def upload(self, name: str, values: Array) -> int:
        """Copy an array; the address stays valid until the next upload of that name."""
        ...


@final
class TorchMemory:
    """Memory of PyTorch; each tensor is held until the next batch takes its place."""

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise MissingDependencyError("calibrating with TensorRT needs PyTorch with a GPU.")
        self._held: dict[str, Any] = {}

    def upload(self, name: str, values: Array) -> int:
        """Copy an array and keep the tensor alive."""
        import torch

        held = torch.from_numpy(values).cuda()
        torch.cuda.synchronize()
        self._held[name] = held
        return int(held.data_ptr())


def entropy_calibrator(
    trt: ModuleType,
    batches: Iterable[tuple[Array, ...]],
    *,
    batch_size: int,
    cache: Path | None = None,
    memory: DeviceMemory | None = None,
) -> Any:  # noqa: ANN401 - its class comes from TensorRT
    """An ``IInt8EntropyCalibrator2`` that takes batches from any iterable, one at a time.

    Args:
        trt: NVIDIA's module ``tensorrt``.
        batches: One float32 array for each input of the network, in its order.
        batch_size: Samples in a batch.
        cache: Read where it exists, written after a calibration.
        memory: Defaults to :class:`TorchMemory`.

    Raises:
        MissingDependencyError: This TensorRT has no calibrators, or there is no GPU.
    """
    if not hasattr(trt, "IInt8EntropyCalibrator2"):
        raise MissingDependencyError(
            f"TensorRT {trt.__version__} has no calibrators; build the Q/DQ model instead."
        )
    place = memory or TorchMemory()
    waiting = iter(batches)
    base = trt.IInt8EntropyCalibrator2

    class EntropyCalibrator(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)  # pybind's classes want it said

        def get_batch_size(self) -> int:
            return batch_size

        def get_batch(self, names: list[str]) -> list[int] | None:
            return _uploaded(next(waiting, None), names, batch_size, place)

        def read_calibration_cache(self) -> bytes | None:
            found = cache.read_bytes() if cache is not None and cache.is_file() else b""
            return found or None

        def write_calibration_cache(self, written: Any) -> None:  # noqa: ANN401 - a buffer
            if cache is not None:
                partial = cache.with_name(f"{cache.name}.partial")
                partial.write_bytes(bytes(written))
                partial.rename(cache)

    return EntropyCalibrator()


def _uploaded(
    batch: tuple[Array, ...] | None, names: list[str], batch_size: int, memory: DeviceMemory
) -> list[int] | None:
    """Addresses of a batch on the GPU; ``None`` ends the calibration."""
    if batch is None:
        return None
    if len(batch) != len(names) or len(batch[0]) != batch_size:
        raise CalibrationError(
            f"a batch has {len(batch)} arrays of {len(batch[0])} samples; the network has "
            f"{len(names)} inputs ({', '.join(names)}) and takes {batch_size} samples."
        )
    return [
        memory.upload(name, np.ascontiguousarray(values, dtype=np.float32))
        for name, values in zip(names, batch, strict=True)
    ]
