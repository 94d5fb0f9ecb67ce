import pytest
import torch

from benchmarks.peers.crops import crops, normalised, pictures

for name in ("skimage", "sklearn", "imageio"):
    pytest.importorskip(name)


def test_a_seed_always_gives_the_same_crops():
    assert torch.equal(crops(4, size=32, seed=1), crops(4, size=32, seed=1))
    assert not torch.equal(crops(4, size=32, seed=1), crops(4, size=32, seed=2))


def test_more_crops_begin_with_the_same_ones():
    assert torch.equal(crops(6, size=32, seed=1)[:4], crops(4, size=32, seed=1))


def test_crops_are_pixels_of_the_size_that_was_asked_for():
    found = crops(3, size=24)
    assert found.shape == (3, 3, 24, 24)
    # Interpolation weights are not negative and add up to one, but for the rounding of float32.
    assert -1e-3 <= found.min() < found.max() <= 255 + 1e-3


def test_all_pictures_are_rgb():
    assert {picture.shape[2] for picture in pictures()} == {3}


def test_normalised_pixels_lie_around_zero():
    assert normalised(torch.tensor([0.0, 127.0, 255.0])).tolist() == [-127 / 128, 0, 1]
