from pathlib import Path

import numpy as np
import pytest

from tests.exporters.torchedge_tensorrt.fake_tensorrt import fake_tensorrt
from torchedge.errors import CalibrationError, MissingDependencyError
from torchedge_tensorrt.calibrator import entropy_calibrator

VERSIONS = ["8.2.1.8", "8.5.2.2", "8.6.2.3", "10.3.0.30", "10.16.2.10"]


class FakeMemory:
    """Holds the last array of each name, like the GPU does."""

    def __init__(self) -> None:
        self.held: dict[str, np.ndarray] = {}

    def upload(self, name: str, values: np.ndarray) -> int:
        self.held[name] = values
        return values.ctypes.data


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
    assert made.get_batch(["input"]) is None
    made.write_calibration_cache(memoryview(b"TRT-1-EntropyCalibration2\n"))
    assert made.read_calibration_cache() == b"TRT-1-EntropyCalibration2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.cache"]


def test_batches_that_do_not_fit_are_refused_with_a_fake_tensorrt() -> None:
    batches = [(np.zeros((3, 1), np.float32),)]
    made = entropy_calibrator(fake_tensorrt("8.5.2.2"), batches, batch_size=2, memory=FakeMemory())
    with pytest.raises(CalibrationError, match=r"arrays of 3 samples; .* takes 2 samples"):
        made.get_batch(["input"])


def test_a_fake_tensorrt_11_has_no_calibrators() -> None:
    with pytest.raises(MissingDependencyError, match=r"TensorRT 11\.4\.0\.9 has no calibrators"):
        entropy_calibrator(fake_tensorrt("11.4.0.9"), [], batch_size=1, memory=FakeMemory())
