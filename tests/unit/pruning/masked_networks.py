"""Networks with one of everything that can be masked or must be left out."""

import torch
from torch import nn


def convolutional(*, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 12, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


def linear(*, seed=0, hidden=16):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, hidden), nn.ReLU(), nn.Linear(hidden, 12), nn.Linear(12, 3)
    )


def state(model):
    """A copy of every tensor, to see that a model is untouched."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def tied(*, seed=0):
    """Words in and words out by the same numbers."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6))
    net[2].weight = net[0].weight
    return net
