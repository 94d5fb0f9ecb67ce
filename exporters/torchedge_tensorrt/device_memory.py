"""Memory on the GPU for calibration batches: through PyTorch, else through NVIDIA's cuda-python."""

from types import ModuleType
from typing import Any, Protocol, final

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError, MissingDependencyError

__all__ = ["CudaMemory", "DeviceMemory", "TorchMemory", "device_memory"]

_NO_GPU = (
    "calibrating with TensorRT needs a GPU that PyTorch or the package cuda-python can reach; "
    "torchedge calibration create needs none."
)


class DeviceMemory(Protocol):
    """Keeps a copy of arrays on the GPU for as long as TensorRT may read them."""

    def upload(self, name: str, values: Array) -> int:
        """Copy an array; the address stays valid until the next upload of that name."""
        ...

    def free(self) -> None:
        """Give everything back; addresses are invalid from then on."""
        ...


@final
class TorchMemory:
    """Memory of PyTorch; each tensor is held until the next batch takes its place.

    Raises:
        MissingDependencyError: PyTorch reaches no GPU.
    """

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise MissingDependencyError(_NO_GPU)
        self._held: dict[str, Any] = {}

    def upload(self, name: str, values: Array) -> int:
        """Copy an array and keep the tensor alive."""
        import torch

        held = torch.from_numpy(values).cuda()
        torch.cuda.synchronize()
        self._held[name] = held
        return int(held.data_ptr())

    def free(self) -> None:
        """Let go of the tensors, and let PyTorch give their memory back to CUDA."""
        import torch

        self._held.clear()
        torch.cuda.empty_cache()


@final
class CudaMemory:
    """Memory of CUDA's runtime; one allocation for each input, kept while its size stays.

    Args:
        cudart: Module ``cuda.bindings.runtime``, or ``cuda.cudart`` of older packages; default the
            one that is installed.

    Raises:
        MissingDependencyError: There is no such package, or no GPU.
    """

    def __init__(self, cudart: ModuleType | None = None) -> None:
        self._cudart: Any = cudart or _cudart()
        self._held: dict[str, tuple[int, int]] = {}
        error, devices = self._cudart.cudaGetDeviceCount()
        if int(error) != 0 or devices == 0:
            raise MissingDependencyError(_NO_GPU)

    def upload(self, name: str, values: Array) -> int:
        """Copy an array to the memory that is held for an input.

        Raises:
            CalibrationError: CUDA has no memory left, or could not copy.
        """
        address, size = self._held.get(name, (0, -1))
        if size != values.nbytes:
            if name in self._held:
                del self._held[name]
                self._run("cudaFree", address)
            (address,) = self._run("cudaMalloc", values.nbytes)
            self._held[name] = address, values.nbytes
        to_device = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._run("cudaMemcpy", address, values.ctypes.data, values.nbytes, to_device)
        self._run("cudaDeviceSynchronize")  # the copy may still read pageable memory
        return address

    def free(self) -> None:
        """Give every allocation back, once; one that CUDA refuses does not keep the others."""
        while self._held:
            _, (address, _) = self._held.popitem()
            self._cudart.cudaFree(address)

    def _run(self, function: str, *arguments: object) -> tuple[Any, ...]:
        error, *results = getattr(self._cudart, function)(*arguments)
        if int(error) != 0:
            raise CalibrationError(f"{function} failed with CUDA error {int(error)}.")
        return tuple(results)


def _cudart() -> ModuleType:
    from importlib import import_module

    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingDependencyError(_NO_GPU)


def device_memory() -> DeviceMemory:
    """PyTorch's where it has a GPU, else CUDA's own.

    Raises:
        MissingDependencyError: Neither reaches a GPU.
    """
    try:
        return TorchMemory()
    except (ImportError, MissingDependencyError):
        return CudaMemory()
