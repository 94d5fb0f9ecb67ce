"""Keyword spotting: what is to be recognised, and the data module that trains on it."""

from dataclasses import dataclass
from typing import final

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from torchedge.errors import DataError
from torchedge.exporting.normalisation import Normalisation

__all__ = [
    *("CLASSES", "KEYWORDS", "OTHER_WORDS", "SILENCE", "UNKNOWN"),
    *("KeywordParts", "KeywordSet", "Keywords"),
]

# Those of Speech Commands (Warden 2018) and its usual task of twelve classes.
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    *("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow"),
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)
CLASSES = (*KEYWORDS, "unknown", "silence")
UNKNOWN, SILENCE = len(KEYWORDS), len(KEYWORDS) + 1


@final
@dataclass(frozen=True, kw_only=True)
class KeywordSet:
    """Coefficients and classes of one part of a data set.

    Args:
        features: Of shape ``(clips, 40, 49)``, as :class:`~torchedge.data.mfcc.Mfcc` gives them.
        labels: Places in :data:`CLASSES`.

    Raises:
        DataError: There is no clip, or not one label for each.
    """

    features: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if not len(self.labels) or len(self.labels) != len(self.features):
            raise DataError(
                f"{len(self.features)} clips with {len(self.labels)} labels; give one or more "
                "clips, and a label for each."
            )

    def normalised(self, mean: Tensor, deviation: Tensor) -> "KeywordSet":
        """The same clips with ``(features - mean) / deviation`` for each coefficient."""
        return KeywordSet(features=(self.features - mean) / deviation, labels=self.labels)


@final
@dataclass(frozen=True, kw_only=True)
class KeywordParts:
    """A data set, apart by who speaks.

    Args:
        train: Clips to learn from.
        validation: Of other speakers, to watch the training by.
        test: Of others again, for the figures in reports.
    """

    train: KeywordSet
    validation: KeywordSet
    test: KeywordSet


@final
class Keywords(pl.LightningDataModule):
    """Clips to train, to validate and to test with, normalised by mean and deviation of the first.

    While training, a clip begins up to ``most_frames`` frames earlier or later each time, and up to
    ``most_masked`` frames in a row of it are set to the mean.

    Args:
        parts: The clips.
        batch_size: For training.
        most_frames: Of the shift.
        most_masked: Of the mask.
        seed: Of the order of training batches.

    Raises:
        DataError: There are fewer clips to train with than a batch has.

    Example:
        >>> clips = KeywordSet(features=torch.randn(8, 40, 49), labels=torch.arange(8))
        >>> parts = KeywordParts(train=clips, validation=clips, test=clips)
        >>> Keywords(parts, batch_size=4).test.features.shape
        torch.Size([8, 40, 49])
    """

    def __init__(
        self,
        parts: KeywordParts,
        *,
        batch_size: int = 128,
        most_frames: int = 3,
        most_masked: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (count := len(parts.train.labels)) < batch_size:
            raise DataError(
                f"{count} clips to train with, and a batch has {batch_size}; give more clips."
            )
        self.mean = parts.train.features.mean((0, 2), keepdim=True)[0]
        self.deviation = parts.train.features.std((0, 2), keepdim=True)[0].clamp(min=1e-3)
        self.train = parts.train.normalised(self.mean, self.deviation)
        self.validation = parts.validation.normalised(self.mean, self.deviation)
        self.test = parts.test.normalised(self.mean, self.deviation)
        self.batch_size = batch_size
        self.most_frames = most_frames
        self.most_masked = most_masked
        self.seed = seed

    @property
    def normalisation(self) -> Normalisation:
        """What was done to the coefficients, for whoever feeds the network."""
        return Normalisation(
            mean=tuple(self.mean.flatten().tolist()),
            deviation=tuple(self.deviation.flatten().tolist()),
        )

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        order = torch.Generator().manual_seed(self.seed)
        data = TensorDataset(self.train.features, self.train.labels)
        batches = torch.utils.data.BatchSampler(
            torch.utils.data.RandomSampler(data, generator=order), self.batch_size, drop_last=True
        )
        # One look-up a batch and not one a clip: the network is small, and this is half the time.
        return DataLoader(data, batch_size=None, sampler=batches)

    @override
    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.validation.features, self.validation.labels), 500)

    @override
    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        features, labels = batch
        if self.trainer is None or not self.trainer.training:
            return features, labels
        return masked(delayed(features, self.most_frames), self.most_masked), labels


def delayed(features: Tensor, most_frames: int) -> Tensor:
    """Each clip moved by up to ``most_frames`` frames; frames at the border are repeated.

    Example:
        >>> delayed(torch.zeros(4, 40, 49), most_frames=3).shape
        torch.Size([4, 40, 49])
    """
    count, _, frames = features.shape
    moved = torch.randint(-most_frames, most_frames + 1, (count, 1, 1), device=features.device)
    places = (torch.arange(frames, device=features.device) + moved).clamp(0, frames - 1)
    return features.gather(2, places.expand_as(features))


def masked(features: Tensor, most_frames: int) -> Tensor:
    """Up to ``most_frames`` frames in a row of each clip set to zero (Park et al. 2019).

    Example:
        >>> (masked(torch.ones(4, 40, 49), most_frames=8) == 0).any(1).sum(1).max() <= 8
        tensor(True)
    """
    count, _, frames = features.shape
    lengths = torch.randint(most_frames + 1, (count, 1, 1), device=features.device)
    begins = (torch.rand(count, 1, 1, device=features.device) * (frames - lengths + 1)).long()
    places = torch.arange(frames, device=features.device)
    return features.masked_fill((places >= begins) & (places < begins + lengths), 0.0)
