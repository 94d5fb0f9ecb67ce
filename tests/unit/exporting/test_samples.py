import numpy as np
import pytest

from torchedge.errors import ArtifactError
from torchedge.exporting.samples import Samples, load_samples, save_samples


def test_samples_survive_the_file(tmp_path):
    rng = np.random.default_rng(0)
    samples = Samples(
        inputs=(rng.random((4, 2, 3), dtype=np.float32), rng.random((4, 1), dtype=np.float32)),
        expected=(rng.random((4, 5), dtype=np.float32),),
        labels=np.arange(4),
        calibration=(rng.random((2, 2, 3), dtype=np.float32), np.zeros((2, 1), np.float32)),
    )
    save_samples(samples, tmp_path / "s")
    loaded = load_samples(tmp_path / "s")
    for name in ("inputs", "expected", "calibration"):
        pairs = zip(getattr(samples, name), getattr(loaded, name), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(loaded.labels, samples.labels)


def test_batches_keep_inputs_together_and_in_order():
    samples = Samples(inputs=(np.arange(6), 10 * np.arange(6)), expected=())
    pairs = [(a.tolist(), b.tolist()) for a, b in samples.batches(2)]
    assert pairs == [([0, 1], [0, 10]), ([2, 3], [20, 30]), ([4, 5], [40, 50])]


@pytest.mark.parametrize("data", [b"", b"not safetensors at all", b"\x80\x04pickle"])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, data):
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(ArtifactError, match="no safetensors"):
        load_samples(tmp_path / "s")


def test_a_file_without_inputs_is_refused(tmp_path):
    save_samples(Samples(inputs=(), expected=(np.zeros(1),)), tmp_path / "s")
    with pytest.raises(ArtifactError, match="no sample inputs"):
        load_samples(tmp_path / "s")
