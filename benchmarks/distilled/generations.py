"""Born-again networks: do generations of one network get better, and do they together?"""

from collections.abc import Mapping

import torch
from torch import nn

from benchmarks.distilled.fitting import (
    accuracy,
    fit,
    in_processes,
    mean_and_spread,
    mixed_loader,
)
from torchedge.data import Digits
from torchedge.distillation import Hinton
from torchedge.distillation.born_again import born_again
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier, MobileDigits

__all__ = ["generations"]

_SEEDS = range(5)
_GENERATIONS = 3
_SEEDS_APART = 100


def generations() -> dict[str, Mapping[str, float]]:
    """Three generations after the first, all with 4,000 labels, and the ensemble of all four."""
    families = in_processes(family_accuracies, _SEEDS)
    columns = list(zip(*families, strict=True))
    names = [f"generation {number}" for number in range(_GENERATIONS + 1)] + ["ensemble of all"]
    return {name: mean_and_spread(column) for name, column in zip(names, columns, strict=True)}


def family_accuracies(seed: int) -> list[float]:
    """Of each generation, and of all together."""
    data = Digits()

    def train(student: nn.Module, teacher: nn.Module | None) -> None:
        task = Classifier(student)
        loader = mixed_loader(data.train_images, data.train_labels)
        if teacher is None:
            fit(task, loader)
        else:
            terms = {"parent": (0.5, Hinton(temperature=2.0))}
            fit(DistillationModule(task, teacher, terms, hard_weight=0.5), loader)

    family = list(
        born_again(MobileDigits, train, generations=_GENERATIONS, seed=_SEEDS_APART * seed)
    )
    with torch.no_grad():
        each = [accuracy(member.network, data) for member in family]
        return [*each, accuracy(family[-1].ensemble, data)]
