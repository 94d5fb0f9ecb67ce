"""How a classifier learns: cross-entropy, AdamW and a one-cycle learning rate."""

from typing import final

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["UNLABELLED", "Classifier"]

UNLABELLED = -100  # what torch's cross-entropy leaves out


@final
class Classifier(pl.LightningModule):
    """Trains any network that returns logits.

    Samples with the label :data:`UNLABELLED` do not count, so that a teacher can have a word on
    them; a batch of nothing else has the loss zero.

    Args:
        model: The network; it is changed in place, as Lightning does.
        learning_rate: Peak of the one-cycle schedule (Smith & Topin 2018).
        weight_decay: Of AdamW (Loshchilov & Hutter 2019).
    """

    def __init__(
        self, model: nn.Module, *, learning_rate: float = 1e-2, weight_decay: float = 1e-4
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    @override
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = _mean_cross_entropy(self(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    @override
    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        accuracy = (self(images).argmax(1) == labels).float().mean()
        self.log("accuracy", accuracy, prog_bar=True, batch_size=len(labels))

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Over the labelled samples; zero and not NaN where there are none."""
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)
