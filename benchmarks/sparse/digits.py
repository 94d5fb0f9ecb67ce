"""The digits network with a tenth of its weights, and with two of every four.

A trained network is trained on while its weights go. Everything was chosen on a fifth of the
training images, before the test images were looked at; the figure is the accuracy after the last
epoch. Beside the network that it began with stands the same one trained on as long with nothing
removed, so that the difference is not one of training time. The last row of a tenth learns from the
whole network's answers as well (Hinton et al. 2015).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import pytorch_lightning as pl
import torch
from torch import nn

from benchmarks.distilled.fitting import (
    accuracy,
    fit,
    in_processes,
    labelled_loader,
    mean_and_spread,
)
from torchedge.data import Digits
from torchedge.distillation import Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier, MobileDigits
from torchedge.pruning import NOfM, bake_masks, mask_weights, weight_masks
from torchedge.pruning.functional import lamp_scores, magnitude_scores
from torchedge.pruning.lightning import GradualPruning
from torchedge.pruning.patterns import Pattern, Scores

__all__ = ["digits"]

Figures = Mapping[str, Mapping[str, float]]
_SEEDS = range(3)
_DENSE_EPOCHS, _LONGER_EPOCHS = 16, 28
_EVERY_STEPS = 31  # twice an epoch
_TWO_OF_FOUR = NOfM(2, 4)


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One trained network."""

    accuracy: float
    weights_left: float


def digits() -> Figures:
    """Nine of ten weights go, the smallest of their layer's remaining ones (LAMP) first; or 2:4."""
    found = in_processes(one_seed, _SEEDS)
    dense = mean_and_spread([seed["dense"].accuracy for seed in found])["mean"]
    rows = {}
    for name, first in found[0].items():
        values = [seed[name].accuracy for seed in found]
        row = mean_and_spread(values)
        rows[name] = {
            "weights_left": first.weights_left,
            **row,
            "points_to_dense": 100 * (row["mean"] - dense),
            **{f"seed_{seed}": value for seed, value in zip(_SEEDS, values, strict=True)},
        }
    return rows


def one_seed(seed: int) -> dict[str, Outcome]:
    """The seed decides the first weights, the order of the images, and how they are moved."""
    torch.manual_seed(seed)
    data = Digits()
    dense = MobileDigits().to(memory_format=torch.channels_last)  # faster on a CPU
    _fit(dense, data, _DENSE_EPOCHS)
    longer = copy.deepcopy(dense)
    _fit(longer, data, _LONGER_EPOCHS)
    tenth = mask_weights(dense, weight_masks(dense, 0.0))
    taught = copy.deepcopy(tenth)
    _fit(tenth, data, _LONGER_EPOCHS, _tenth_left())
    _fit(taught, data, _LONGER_EPOCHS, _tenth_left(), teacher=dense)
    half = mask_weights(dense, weight_masks(dense, 0.0, pattern=_TWO_OF_FOUR))
    removal = _removal(_TWO_OF_FOUR.sparsity, last_epoch=4, pattern=_TWO_OF_FOUR)
    _fit(half, data, 8, removal)
    return {
        "dense": _outcome(dense, data),
        "dense, 28 epochs more": _outcome(longer, data),
        "90 % gradual, 28 epochs more": _outcome(bake_masks(tenth), data),
        "90 % gradual, taught by the dense": _outcome(bake_masks(taught), data),
        "2:4, 8 epochs more": _outcome(bake_masks(half), data),
    }


def _tenth_left() -> GradualPruning:
    return _removal(0.9, last_epoch=10, scores=lamp_scores)


def _removal(
    sparsity: float,
    *,
    last_epoch: int,
    scores: Scores = magnitude_scores,
    pattern: Pattern | None = None,
) -> GradualPruning:
    return GradualPruning(
        sparsity=sparsity,
        begin_epoch=0,
        end_epoch=last_epoch,
        every_steps=_EVERY_STEPS,
        scores=scores,
        pattern=pattern,
    )


def _fit(
    network: nn.Module,
    data: Digits,
    epochs: int,
    *callbacks: pl.Callback,
    teacher: nn.Module | None = None,
) -> None:
    task: pl.LightningModule = Classifier(network.train())
    if teacher is not None:
        terms = {"hinton": (0.9, Hinton(temperature=4.0))}
        task = DistillationModule(task, copy.deepcopy(teacher), terms, hard_weight=0.1)
    fit(task, labelled_loader(data.train_images, data.train_labels), epochs, *callbacks)


def _outcome(network: nn.Module, data: Digits) -> Outcome:
    weights = [p for p in network.parameters() if p.ndim > 1]
    left = sum(int((weight != 0).sum()) for weight in weights) / sum(w.numel() for w in weights)
    return Outcome(accuracy=accuracy(network, data), weights_left=left)
