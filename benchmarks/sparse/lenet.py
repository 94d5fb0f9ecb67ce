"""Lottery tickets of LeNet-300-100: what a tenth of its weights can do, and what the controls can.

Epochs, learning rate and where weights are rewound to, the initialisation, were chosen on a fifth
of the training images, before the test images were looked at. The figure is the accuracy after the
last epoch of each training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

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
from torchedge.models import Classifier
from torchedge.pruning import Ticket, lottery_tickets, randomly_masked, reinitialised
from torchedge.pruning.plots import TicketCurve, tickets_figure

__all__ = ["lottery"]

Figures = Mapping[str, Mapping[str, float]]
_SEEDS = range(3)
_ROUNDS = 11  # 0.8 ** 11 leaves 8.6 % of the weights before the last layer
_CONTROLLED = (2, 5, 8, _ROUNDS)
_EPOCHS = 12
_LEARNING_RATE = 2e-3
_PICTURE = Path("runs/tickets.png")


@final
@dataclass(frozen=True, kw_only=True)
class Search:
    """What one seed found: accuracies by round, and the share of all weights that was left."""

    weights_left: Sequence[float]
    ticket: Sequence[float]
    reinitialised: Sequence[float]
    random_mask: Sequence[float]


def lenet() -> nn.Sequential:
    """Two hidden layers, 300 and 100 wide (LeCun et al. 1998): 266,200 weights."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 300), nn.ReLU()),
        *(nn.Linear(300, 100), nn.ReLU()),
        nn.Linear(100, 10),
    )


def lottery() -> Figures:
    """Mean of three seeds; writes the picture ``runs/tickets.png``."""
    found = in_processes(search, _SEEDS)
    _PICTURE.parent.mkdir(parents=True, exist_ok=True)
    tickets_figure(_curves(found)).savefig(_PICTURE, dpi=110)
    dense = [seed.ticket[0] for seed in found]
    rows = {"dense": _row(dense, dense, 1.0)}
    for number in _CONTROLLED:
        left = found[0].weights_left[number]
        rows[f"round {number}: ticket"] = _row([s.ticket[number] for s in found], dense, left)
        place = _CONTROLLED.index(number)
        for name in ("reinitialised", "random_mask"):
            values = [getattr(seed, name)[place] for seed in found]
            rows[f"round {number}: {name}"] = _row(values, dense, left)
    return rows


def search(seed: int) -> Search:
    """All rounds and their controls; the seed decides weights, the order of images, and shifts."""
    data = Digits()

    def train(network: nn.Module) -> None:
        loader = labelled_loader(data.train_images, data.train_labels)
        fit(Classifier(network.train(), learning_rate=_LEARNING_RATE), loader, _EPOCHS)

    def trained(ticket: Ticket, order: int) -> float:
        network = ticket.network(lenet())
        torch.manual_seed(order)
        train(network)
        return accuracy(network, data)

    torch.manual_seed(seed)
    original = lenet()
    start = original.state_dict()
    tickets, accuracies = [], []
    for network in lottery_tickets(
        original, train, sparsity_per_round=0.2, rounds=_ROUNDS, rewind_to=start, seed=seed
    ):
        accuracies.append(accuracy(network, data))
        tickets.append(Ticket.of(network, start))
    controlled = [tickets[number] for number in _CONTROLLED]
    torch.manual_seed(1000 + seed)
    fresh = [reinitialised(ticket, lenet()) for ticket in controlled]
    shuffled = [randomly_masked(ticket, seed=1000 + seed) for ticket in controlled]
    return Search(
        weights_left=[_share_of_all(ticket) for ticket in tickets],
        ticket=accuracies,
        reinitialised=[trained(ticket, seed) for ticket in fresh],
        random_mask=[trained(ticket, seed) for ticket in shuffled],
    )


def _share_of_all(ticket: Ticket) -> float:
    """Of all weights, the last layer's too, which is not pruned; without biases."""
    total = sum(value.numel() for value in ticket.weights.values() if value.ndim > 1)
    return 1 - sum(int((~mask).sum()) for mask in ticket.masks.values()) / total


def _row(values: Sequence[float], dense: Sequence[float], left: float) -> dict[str, float]:
    row = mean_and_spread(values)
    seeds = {f"seed_{seed}": value for seed, value in zip(_SEEDS, values, strict=True)}
    points = 100 * (row["mean"] - mean_and_spread(dense)["mean"])
    return {"weights_left": left, **row, "points_to_dense": points, **seeds}


def _curves(found: Sequence[Search]) -> dict[str, TicketCurve]:
    left = found[0].weights_left
    at_controls = [left[number] for number in _CONTROLLED]
    return {
        "ticket": TicketCurve(weights_left=left, accuracies=[s.ticket for s in found]),
        "same mask, new weights": TicketCurve(
            weights_left=at_controls, accuracies=[s.reinitialised for s in found]
        ),
        "random mask, same weights": TicketCurve(
            weights_left=at_controls, accuracies=[s.random_mask for s in found]
        ),
    }
