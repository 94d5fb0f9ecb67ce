import gc
import sys
import weakref
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.exporters.torchedge_tensorrt.fake_tensorrt import fake_tensorrt
from torchedge.errors import CalibrationError, MissingDependencyError
from torchedge_tensorrt.calibrator import entropy_calibrator
from torchedge_tensorrt.device_memory import CudaMemory, TorchMemory, device_memory

VERSIONS = ["8.2.1.8", "8.5.2.2", "8.6.2.3", "10.3.0.30", "10.16.2.10"]


Direction = IntEnum("Direction", "cudaMemcpyHostToHost cudaMemcpyHostToDevice", start=0)


class FakeCuda:
    """``cuda.bindings.runtime`` with memory in a dictionary, and at most ``limit`` bytes of it.

    Results are tuples that begin with an error, as NVIDIA's are. An address is never used twice, so
    what was freed stays recognisable.
    """

    cudaMemcpyKind = Direction  # noqa: N815 - CUDA's name

    def __init__(self, *, devices: int = 1, limit: int = 10**6) -> None:
        self.devices, self.limit = devices, limit
        self.blocks: dict[int, bytes] = {}
        self.next_address = 4096
        self.allocations = 0

    def cudaGetDeviceCount(self) -> tuple[int, int]:  # noqa: N802 - CUDA's name
        return (0, self.devices) if self.devices else (100, 0)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        if sum(map(len, self.blocks.values())) + size > self.limit:
            return 2, 0
        address, self.next_address = self.next_address, self.next_address + size + 256
        self.blocks[address] = bytes(size)
        self.allocations += 1
        return 0, address

    def cudaMemcpy(self, to: int, source: int, size: int, kind: IntEnum) -> tuple[int]:  # noqa: N802
        assert kind is Direction.cudaMemcpyHostToDevice
        assert len(self.blocks[to]) == size
        host = (np.ctypeslib.ctypes.c_char * size).from_address(source)
        self.blocks[to] = bytes(host)
        return (0,)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        return (0 if self.blocks.pop(address, None) is not None else 1,)

    def cudaDeviceSynchronize(self) -> tuple[int]:  # noqa: N802
        return (0,)


class FakeMemory:
    """Holds the last array of each name, like the GPU does."""

    def __init__(self) -> None:
        self.held: dict[str, np.ndarray] = {}
        self.freed = 0

    def upload(self, name: str, values: np.ndarray) -> int:
        self.held[name] = values
        return values.ctypes.data

    def free(self) -> None:
        self.held.clear()
        self.freed += 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fake_tensorrt_draws_every_batch_and_writes_the_cache(
    version: str, tmp_path: Path
) -> None:
    cache, memory = tmp_path / "calibration.cache", FakeMemory()
    batches = [(np.full((2, 3), n, np.float64),) for n in range(3)]
    made = entropy_calibrator(
        fake_tensorrt(version), iter(batches), batch_size=2, cache=cache, memory=memory
    )
    assert made.initialised
    assert made.read_calibration_cache() is None
    for n in range(3):
        (address,) = made.get_batch(["input"])
        held = memory.held["input"]
        assert (address, held.dtype, float(held[0, 0])) == (held.ctypes.data, np.float32, n)
    assert not made.get_batch(["input"])
    made.write_calibration_cache(memoryview(b"TRT-1-EntropyCalibration2\n"))
    assert made.read_calibration_cache() == b"TRT-1-EntropyCalibration2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.cache"]


@pytest.mark.parametrize("version", VERSIONS)
def test_batches_are_on_a_fake_gpu_of_cuda_python_as_long_as_a_fake_tensorrt_may_read_them(
    version: str,
) -> None:
    cuda = FakeCuda()
    batches = [(np.full((2, 3), n, np.float32), np.full((2, 1), -n, np.float32)) for n in range(4)]
    memory = CudaMemory(cuda)  # type: ignore[arg-type]
    made = entropy_calibrator(fake_tensorrt(version), batches, batch_size=2, memory=memory)
    for first, second in batches:
        addresses = made.get_batch(["a", "b"])
        assert [cuda.blocks[a] for a in addresses] == [first.tobytes(), second.tobytes()]
    assert cuda.allocations == 2  # one for each input, used again
    assert not made.get_batch(["a", "b"])
    assert cuda.blocks == {}


def test_an_array_of_another_size_gets_new_memory_on_a_fake_gpu_and_the_old_is_freed() -> None:
    cuda = FakeCuda()
    memory = CudaMemory(cuda)  # type: ignore[arg-type]
    first = memory.upload("a", np.zeros(3, np.float32))
    second = memory.upload("a", np.ones(5, np.float32))
    assert first not in cuda.blocks
    assert cuda.blocks == {second: np.ones(5, np.float32).tobytes()}
    memory.free()
    memory.free()
    assert cuda.blocks == {}


def test_a_fake_gpu_without_memory_is_an_error_that_leaves_nothing_held() -> None:
    cuda = FakeCuda(limit=64)
    memory = CudaMemory(cuda)  # type: ignore[arg-type]
    memory.upload("a", np.zeros(4, np.float32))
    with pytest.raises(CalibrationError, match="cudaMalloc failed with CUDA error 2"):
        memory.upload("a", np.zeros(400, np.float32))
    memory.free()
    assert cuda.blocks == {}


def test_an_allocation_that_a_fake_gpu_does_not_take_back_does_not_keep_the_others() -> None:
    cuda = FakeCuda()
    memory = CudaMemory(cuda)  # type: ignore[arg-type]
    for name in ("a", "b"):
        address = memory.upload(name, np.zeros(4, np.float32))
    del cuda.blocks[address]  # the last one, which is freed first
    memory.free()
    assert cuda.blocks == {}


def test_at_the_end_of_a_process_nothing_is_freed_on_a_gpu_that_may_be_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.finalize[..., object]] = []
    finalize = weakref.finalize
    monkeypatch.setattr(
        weakref, "finalize", lambda *words: made.append(finalize(*words)) or made[-1]
    )
    kept = entropy_calibrator(fake_tensorrt("8.6.2.3"), [], batch_size=1, memory=FakeMemory())
    assert [(found.alive, found.atexit) for found in made] == [(True, False)]
    del kept


@pytest.mark.parametrize("name", ["cuda.bindings.runtime", "cuda.cudart"])
def test_a_fake_cuda_python_is_found_under_its_new_name_and_its_old(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, other, FakeCuda() if other == name else None)
    memory = CudaMemory()
    memory.upload("a", np.zeros(4, np.float32))
    assert sys.modules[name].allocations == 1


def test_without_even_a_fake_cuda_python_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match="the package cuda-python can reach"):
        CudaMemory()


def test_a_calibration_that_a_fake_tensorrt_gives_up_frees_its_memory_with_the_calibrator() -> None:
    memory = FakeMemory()
    batches = [(np.zeros((1, 1), np.float32),)] * 2
    made = entropy_calibrator(fake_tensorrt("8.6.2.3"), batches, batch_size=1, memory=memory)
    made.get_batch(["input"])
    assert memory.freed == 0
    del made
    gc.collect()
    assert memory.freed == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_no_memory_is_had_not_even_from_a_fake_one() -> None:
    for make in (TorchMemory, device_memory, lambda: CudaMemory(FakeCuda(devices=0))):
        with pytest.raises(MissingDependencyError, match="needs a GPU that PyTorch or"):
            make()


def test_pytorch_without_a_gpu_leaves_the_memory_to_a_fake_cuda_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("torchedge_tensorrt.device_memory._cudart", FakeCuda)
    assert isinstance(device_memory(), CudaMemory)


def test_memory_of_pytorch_is_held_until_the_next_batch_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied: list[bool] = []
    fake = SimpleNamespace(
        is_available=lambda: True,
        synchronize=lambda: None,
        empty_cache=lambda: emptied.append(not memory._held),
    )
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(torch.Tensor, "cuda", torch.Tensor.clone)
    memory = TorchMemory()
    address = memory.upload("a", np.arange(3, dtype=np.float32))
    gc.collect()
    held = (np.ctypeslib.ctypes.c_float * 3).from_address(address)
    assert list(held) == [0, 1, 2]
    memory.free()
    assert emptied == [True]  # after the tensors were let go, or there is nothing to give back


def test_batches_that_do_not_fit_are_refused_with_a_fake_tensorrt() -> None:
    batches = [(np.zeros((3, 1), np.float32),)]
    made = entropy_calibrator(fake_tensorrt("8.5.2.2"), batches, batch_size=2, memory=FakeMemory())
    with pytest.raises(CalibrationError, match=r"arrays of 3 samples; .* takes 2 samples"):
        made.get_batch(["input"])


def test_a_fake_tensorrt_11_has_no_calibrators() -> None:
    with pytest.raises(MissingDependencyError, match=r"TensorRT 11\.4\.0\.9 has no calibrators"):
        entropy_calibrator(fake_tensorrt("11.4.0.9"), [], batch_size=1, memory=FakeMemory())
