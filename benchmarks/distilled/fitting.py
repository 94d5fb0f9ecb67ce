"""Training on the MNIST images with some, all or no labels, one thread a process."""

import logging
import multiprocessing
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from torchedge.data import Digits
from torchedge.data.digits import shifted
from torchedge.models.classifier import UNLABELLED

__all__ = [
    "accuracy",
    "fit",
    "in_processes",
    "labelled_loader",
    "mean_and_spread",
    "mixed_loader",
    "with_few_labels",
]

BATCH, PER_EPOCH, EPOCHS = 64, 3968, 6
_PROCESSES = 2
_LABELLED_SHARE = 0.25
Work, Result = TypeVar("Work"), TypeVar("Result")


def with_few_labels(labels: Tensor, each: int | None) -> Tensor:
    """Labels with all but ``each`` of every class taken off; ``None`` keeps them all."""
    if each is None:
        return labels
    kept = torch.full_like(labels, UNLABELLED)
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()[:each]
        kept[places] = label
    return kept


def _moved(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*samples, strict=True)
    return shifted(torch.stack(images)), torch.stack(labels)


def labelled_loader(images: Tensor, labels: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    """Only what has a label, as often as it takes for an epoch's number of steps."""
    known = labels != UNLABELLED
    data = TensorDataset(images[known], labels[known])
    sampler = RandomSampler(data, replacement=True, num_samples=PER_EPOCH)
    return DataLoader(data, BATCH, sampler=sampler, collate_fn=_moved)


def mixed_loader(images: Tensor, labels: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    """Everything; at least a quarter of what is drawn has a label."""
    known = labels != UNLABELLED
    share = max(_LABELLED_SHARE, float(known.float().mean()))
    weight = torch.where(known, share / known.sum(), (1 - share) / (~known).sum().clamp(min=1))
    sampler = WeightedRandomSampler(weight.tolist(), PER_EPOCH)
    return DataLoader(TensorDataset(images, labels), BATCH, sampler=sampler, collate_fn=_moved)


def fit(
    task: pl.LightningModule,
    loader: Iterable[object],
    epochs: int = EPOCHS,
    *callbacks: pl.Callback,
) -> None:
    """Train on the CPU, silently."""
    pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
    ).fit(task, loader)


@torch.no_grad()
def accuracy(model: nn.Module, data: Digits) -> float:
    """Share of the test images that are read correctly."""
    return float((model.eval()(data.test_images).argmax(1) == data.test_labels).double().mean())


def mean_and_spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, and standard deviation over the seeds (of a sample)."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "spread": spread}


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)


def in_processes(function: Callable[[Work], Result], works: Iterable[Work]) -> list[Result]:
    """Results in order; each process has one thread and is used again."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_PROCESSES, mp_context=context, initializer=_quiet) as pool:
        return list(pool.map(function, works))
