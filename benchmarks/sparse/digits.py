"""The digits network with a tenth of its weights, and with two of every four.

A trained network is trained on while its weights go. Everything was chosen on a fifth of the
training images, before the test images were looked at; the figure is the accuracy after the last
epoch. Beside the network that it began with stands the same one trained on as long with nothing
removed, so that the difference is not one of training time.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import pytorch_lightning as pl
import torch
from torch import nn

from benchmarks.distilled.fitting import accuracy, in_processes, labelled_loader, mean_and_spread
from torchedge.data import Digits
from torchedge.models import Classifier, MobileDigits
from torchedge.pruning import NOfM, bake_masks, mask_weights, weight_masks
from torchedge.pruning.functional import lamp_scores, magnitude_scores
from torchedge.pruning.gradual import GradualPruning
from torchedge.pruning.patterns import Pattern, Scores

__all__ = ["gradual", "two_of_four"]

Figures = Mapping[str, Mapping[str, float]]
_SEEDS = range(3)
_DENSE_EPOCHS = 16
_EVERY_STEPS = 31  # twice an epoch


@final
@dataclass(frozen=True, kw_only=True)
class Removal:
    """How weights go; epochs are counted from where the dense network was."""

    name: str
    sparsity: float
    epochs: int
    last_removal: int
    pattern: Pattern | None = None
    scores: Scores = magnitude_scores


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One trained network."""

    accuracy: float
    weights_left: float


def gradual() -> Figures:
    """Nine of ten weights go, the smallest of their layer's remaining ones (LAMP) first."""
    return _compared(_nine_of_ten)


def two_of_four() -> Figures:
    """Two of every four inputs go, in the layers that have so many."""
    return _compared(_every_second)


def _nine_of_ten(seed: int) -> dict[str, Outcome]:
    return _one_seed(
        seed,
        Removal(
            name="90 % gradual magnitude",
            sparsity=0.9,
            epochs=28,
            last_removal=10,
            scores=lamp_scores,
        ),
    )


def _every_second(seed: int) -> dict[str, Outcome]:
    pattern = NOfM(2, 4)
    removal = Removal(
        name="2:4", sparsity=pattern.sparsity, epochs=8, last_removal=4, pattern=pattern
    )
    return _one_seed(seed, removal)


def _one_seed(seed: int, removal: Removal) -> dict[str, Outcome]:
    """The seed decides the first weights, the order of the images, and how they are moved."""
    torch.manual_seed(seed)
    data, dense = Digits(), MobileDigits()
    _fit(dense, data, _DENSE_EPOCHS)
    longer = copy.deepcopy(dense)
    sparse = mask_weights(dense, weight_masks(dense, 0.0, pattern=removal.pattern))
    pruning = GradualPruning(
        sparsity=removal.sparsity,
        begin_epoch=0,
        end_epoch=removal.last_removal,
        every_steps=_EVERY_STEPS,
        scores=removal.scores,
        pattern=removal.pattern,
    )
    for network, callbacks in ((longer, []), (sparse, [pruning])):
        torch.manual_seed(1000 + seed)
        _fit(network, data, removal.epochs, *callbacks)
    return {
        "dense": _outcome(dense, data),
        "dense, trained on as long": _outcome(longer, data),
        removal.name: _outcome(bake_masks(sparse), data),
    }


def _compared(one_seed: Callable[[int], dict[str, Outcome]]) -> Figures:
    found = in_processes(one_seed, _SEEDS)
    rows = {}
    dense = mean_and_spread([seed["dense"].accuracy for seed in found])["mean"]
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
