"""Generations: a network teaches a fresh copy of itself, which teaches the next."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from torchedge.errors import DistillationError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked

__all__ = ["Ensemble", "Generation", "born_again"]


@final
class Ensemble(nn.Module):
    """The mean of several networks' probabilities, as logits again.

    Args:
        networks: At least one; they are shared, not copied.

    Raises:
        DistillationError: There is no network.

    Example:
        >>> Ensemble([nn.Identity(), nn.Identity()])(torch.tensor([[0.5, 0.5]])).softmax(1)
        tensor([[0.5000, 0.5000]])
    """

    @kinds_checked(error=DistillationError)
    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise DistillationError("an ensemble needs at least one network; give a list of them.")
        self.networks = nn.ModuleList(networks)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the mean probabilities; batch x classes."""
        each = torch.stack([network(x).log_softmax(1) for network in self.networks])
        mean: Tensor = each.logsumexp(0) - torch.tensor(float(len(self.networks))).log()
        return mean


@final
@dataclass(frozen=True, kw_only=True)
class Generation:
    """One generation, trained.

    Args:
        number: 0 was taught by labels alone.
        network: In evaluation mode.
        ensemble: Of this generation and all before it.
    """

    number: int
    network: nn.Module
    ensemble: Ensemble


@kinds_checked(error=DistillationError)
def born_again(
    make_student: Callable[[], nn.Module],
    fit: Callable[[nn.Module, nn.Module | None], None],
    generations: int,
    *,
    seed: int = 0,
) -> Iterator[Generation]:
    """Train generation after generation, each a fresh network taught by the one before.

    Furlanello et al. 2018. Generation ``k`` begins and trains with the seed ``seed + k``, so a run
    can be repeated, and is the same as the first generations of a longer one.

    Args:
        make_student: A fresh network.
        fit: Trains the first argument in place; the second is its teacher, ``None`` at first.
        generations: How many beyond the first, which has no teacher.
        seed: Of torch, set before each generation; the caller's is put back after it.

    Raises:
        DistillationError: The number of generations is negative.

    Example:
        >>> def fit(student, teacher):
        ...     print("taught by", "labels" if teacher is None else "its parent")
        >>> family = list(born_again(lambda: nn.Linear(2, 2), fit, generations=1))
        taught by labels
        taught by its parent
        >>> [member.number for member in family], len(family[-1].ensemble.networks)
        ([0, 1], 2)
    """
    if generations < 0:
        raise DistillationError(f"generations is {generations}; give 0 or more.")
    family: list[nn.Module] = []
    for number in range(generations + 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed + number)
            student = _required(make_student())
            fit(student, copied(family[-1]) if family else None)
        family.append(student.eval())
        yield Generation(number=number, network=student, ensemble=Ensemble(list(family)).eval())


def _required(student: object) -> nn.Module:
    if not isinstance(student, nn.Module):
        raise DistillationError(
            f"make_student returned a {type(student).__name__}; return a new network each time."
        )
    return student
