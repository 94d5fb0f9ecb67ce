import pytest
import torch

from torchedge.data import Digits
from torchedge.data.digits import shifted


def test_no_image_is_in_both_parts_and_none_is_lost():
    digits = Digits()
    train = {image.numpy().tobytes() for image in digits.train_images}
    test = {image.numpy().tobytes() for image in digits.test_images}
    assert not train & test
    assert len(digits.train_images) + len(digits.test_images) == 5000


def test_the_same_seed_gives_the_same_split_and_another_one_does_not():
    first, again, other = Digits(seed=3), Digits(seed=3), Digits(seed=4)
    assert torch.equal(first.test_images, again.test_images)
    assert not torch.equal(first.test_images, other.test_images)


def test_a_shift_moves_the_image_by_whole_pixels_and_fills_with_zeros():
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 10, 14] = 1
    places = set()
    for _ in range(300):
        moved = shifted(image, most=1)
        assert moved.sum() == 1
        places.add(tuple(moved[0, 0].nonzero()[0].tolist()))
    assert places == {(row, column) for row in (9, 10, 11) for column in (13, 14, 15)}


def test_every_image_of_a_batch_is_shifted_on_its_own():
    batch = torch.rand(64, 1, 1, 1).expand(64, 1, 28, 28).clone()
    values = shifted(batch)
    assert len({tuple((image[0] > 0).sum(1).tolist()) for image in values}) > 1
    assert torch.equal(values.amax((1, 2, 3)), batch[:, 0, 0, 0])


@pytest.mark.parametrize("batch_size", [32, 64])
def test_training_batches_are_whole(batch_size):
    sizes = {len(images) for images, _ in Digits(batch_size=batch_size).train_dataloader()}
    assert sizes == {batch_size}
