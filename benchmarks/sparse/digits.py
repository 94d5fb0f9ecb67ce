"""The digits network with a tenth of its weights, and with two of every four.

A trained network is trained on while its weights go, with the same schedule of the learning rate.
Everything was fixed before the test images were looked at, on a part of the training images; the
figure is the accuracy after the last epoch. ``dense`` is trained on as long, with nothing removed,
so that the difference is not one of training time.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import pytorch_lightning as pl
import torch
from torch import nn

from benchmarks.distilled.fitting import accuracy, in_processes, labelled_loader, mean_and_spread
from torchedge.data import Digits
from torchedge.models import Classifier, MobileDigits
from torchedge.pruning import NOfM, bake_masks, mask_weights, weight_masks
from torchedge.pruning.gradual import GradualPruning

__all__ = ["digits"]

Figures = Mapping[str, Mapping[str, float]]
_SEEDS = range(3)
_DENSE_EPOCHS, _PRUNING_EPOCHS, _LAST_REMOVAL = 12, 16, 8
_EVERY_STEPS = 31  # twice an epoch


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One trained network."""

    accuracy: float
    weights_left: float


def digits() -> Figures:
    """Mean of three seeds."""
    found = in_processes(one_seed, _SEEDS)
    rows = {}
    dense = mean_and_spread([seed["dense"].accuracy for seed in found])["mean"]
    for name in found[0]:
        values = [seed[name].accuracy for seed in found]
        row = mean_and_spread(values)
        rows[name] = {
            "weights_left": found[0][name].weights_left,
            **row,
            "points_to_dense": 100 * (row["mean"] - dense),
            **{f"seed_{seed}": value for seed, value in zip(_SEEDS, values, strict=True)},
        }
    return rows


def one_seed(seed: int) -> dict[str, Outcome]:
    """Train once, then train on in three ways."""
    torch.manual_seed(seed)
    data, network = Digits(), MobileDigits()
    _fit(network, data, _DENSE_EPOCHS)
    outcomes = {"trained once": _outcome(network, data)}
    longer = copy.deepcopy(network)
    _fit(longer, data, _PRUNING_EPOCHS)
    outcomes["dense"] = _outcome(longer, data)
    masked = mask_weights(network, weight_masks(network, 0.0))
    _fit(masked, data, _PRUNING_EPOCHS, _gradual(0.9))
    outcomes["90 % gradual magnitude"] = _outcome(bake_masks(masked), data)
    two_of_four = NOfM(2, 4)
    masked = mask_weights(network, weight_masks(network, 0.0, pattern=two_of_four))
    _fit(masked, data, _PRUNING_EPOCHS, _gradual(two_of_four.sparsity, two_of_four))
    outcomes["2:4"] = _outcome(bake_masks(masked), data)
    return outcomes


def _gradual(sparsity: float, pattern: NOfM | None = None) -> GradualPruning:
    return GradualPruning(
        sparsity=sparsity,
        begin_epoch=0,
        end_epoch=_LAST_REMOVAL,
        every_steps=_EVERY_STEPS,
        pattern=pattern,
    )


def _fit(network: nn.Module, data: Digits, epochs: int, *callbacks: pl.Callback) -> None:
    pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    ).fit(Classifier(network.train()), labelled_loader(data.train_images, data.train_labels))


def _outcome(network: nn.Module, data: Digits) -> Outcome:
    weights = [p for p in network.parameters() if p.ndim > 1]
    left = sum(int((weight != 0).sum()) for weight in weights) / sum(w.numel() for w in weights)
    return Outcome(accuracy=accuracy(network, data), weights_left=left)
