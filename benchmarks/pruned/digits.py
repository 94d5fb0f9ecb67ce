"""What is left of the accuracy on handwritten digits at a quarter of the multiply-accumulates."""

import copy
from collections.abc import Mapping

import pytorch_lightning as pl
from torch import nn

from benchmarks.distilled.fitting import (
    accuracy,
    fit,
    in_processes,
    labelled_loader,
    mean_and_spread,
)
from benchmarks.pruned.coverage import flops
from torchedge.data import Digits
from torchedge.models import Classifier, MobileDigits
from torchedge.pruning import Limits, prune_to
from torchedge.quantization.recovery import reestimate_batchnorm

__all__ = ["digits"]

_SEEDS, _EPOCHS, _SHARE = 3, 12, 0.25


def digits() -> Mapping[str, Mapping[str, float]]:
    """Mean and standard deviation over the seeds, and how many points pruning costs."""
    rows = in_processes(_one, list(range(_SEEDS)))
    names = ("unpruned", "pruned", "pruned and trained")
    found = {
        name: mean_and_spread([row[place] for row in rows]) for place, name in enumerate(names)
    }
    lost = mean_and_spread([100 * (row[0] - row[2]) for row in rows])
    return {**found, "points lost": lost, "macs": {"left": max(row[3] for row in rows)}}


def _one(seed: int) -> tuple[float, float, float, float]:
    pl.seed_everything(seed, verbose=False)
    data, model = Digits(), MobileDigits()
    image = data.test_images[:1]
    _fit(model, data)
    pruned = prune_to(model, (image,), macs=_SHARE, limits=Limits(multiple=4))
    pruned = reestimate_batchnorm(pruned, data.train_images[:512].split(64))
    trained = copy.deepcopy(pruned)
    _fit(trained, data)
    left = flops(pruned.eval(), image) / flops(model.eval(), image)
    return accuracy(model, data), accuracy(pruned, data), accuracy(trained, data), left


def _fit(model: nn.Module, data: Digits) -> None:
    fit(Classifier(model), labelled_loader(data.train_images, data.train_labels), _EPOCHS)
