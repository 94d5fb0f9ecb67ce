"""Networks as people bring them, right and wrong."""

import threading

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = [
    "Branching",
    "Functional",
    "Keeps",
    "Locked",
    "NamedLikeOurs",
    "Returns",
    "Shared",
    "Stacked",
    "TwoInputs",
    "net",
]


def net() -> nn.Sequential:
    """A small trained network for pictures of 1 channel and 8 by 8 pixels, with 4 scores."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(256, 4)).eval()


class Keeps(nn.Module):
    """Keeps its activations, one of them deep in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.seen: dict[str, list[Tensor]] = {}

    @override
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.conv(x)
        self.seen["all"] = [self.last]
        return self.last.relu()


class Locked(nn.Module):
    """Keeps a lock, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.lock = threading.Lock()

    @override
    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.conv(x)


class NamedLikeOurs(nn.Module):
    """Modules and attributes with the names that fake quantisation uses."""

    def __init__(self) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([nn.Conv2d(1, 4, 3)])
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.observer, self.enabled, self.spec = nn.Conv2d(4, 4, 1), True, "mine"

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.observer(self.quantizers[0](x) * self.scale)


class Returns(nn.Module):
    """Returns something else than a tensor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv, self.kind = nn.Conv2d(1, 4, 3), kind

    @override
    def forward(self, x: Tensor) -> object:
        y = self.conv(x)
        nested = {"maps": {"first": y, "all": [y, y + 1]}, "none": None}
        return {"none": None, "text": "cat", "nested": nested, "empty": ()}[self.kind]


class TwoInputs(nn.Module):
    """Takes two pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)

    @override
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.left(left) + self.right(right)


class Shared(nn.Module):
    """One layer in three places."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.body = nn.Conv2d(1, 4, 3), nn.Sequential(conv, nn.ReLU(), conv)
        self.again = conv

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.body(self.first(x)))


class Branching(nn.Module):
    """Goes where the values say."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.mean() > 0 else self.conv(-x)


class Functional(nn.Module):
    """Has no parameters."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(x), 2)


class Stacked(nn.Sequential):
    """A Sequential of one's own."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
