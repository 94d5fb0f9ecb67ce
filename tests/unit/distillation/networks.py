"""A task, a teacher and data that are quick."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 3


def convolutional(width, *, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )


def samples(count=12, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 6, 6, generator=generator)
    return images, torch.arange(count) % CLASSES


def loader(count=12, batch_size=4, **options):
    return DataLoader(TensorDataset(*samples(count)), batch_size, **options)


class Task(pl.LightningModule):
    """Says what was asked of it."""

    def __init__(self, model, *, learning_rate=0.1):
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate
        self.asked = []

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("task_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean())

    def on_train_epoch_end(self):
        self.asked.append("on_train_epoch_end")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.learning_rate)


def trainer(**options):
    return pl.Trainer(
        **{
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **options,
        }
    )
