"""What every recipe does with a network and data: train on the CPU, and count right answers."""

import copy

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from torchedge.bench.parity import top1_accuracy

__all__ = ["accuracy", "fit"]


def fit(
    task: pl.LightningModule, data: pl.LightningDataModule, epochs: int, *callbacks: pl.Callback
) -> None:
    """Train on the CPU with a progress bar; nothing is written.

    Args:
        task: Changed in place.
        data: With loaders for training, and for validation where progress is to be seen.
        epochs: Passes over the training data.
        callbacks: Of Lightning.
    """
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=data)


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of the inputs whose largest score is that of their label.

    Args:
        model: Returns scores; its mode and state stay as they are.
        inputs: All at once; they must fit into memory.
        labels: A class index for each.

    Example:
        >>> accuracy(nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    scores: Tensor = copy.deepcopy(model).eval()(inputs)
    return top1_accuracy(scores.numpy(), labels.numpy())
