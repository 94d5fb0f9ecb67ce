"""Small networks with operations along unusual axes and with pads that no convolution does."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Padded(nn.Module):
    """Zeros that a convolution can add itself, zeros that it cannot, and cropping by padding."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.first = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2)
        self.second, self.third = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.pad(F.relu(self.first(self.pad(x))), (0, 1, 0, 1)), 3, 1)
        x = F.pad(F.relu(self.second(x)), (-1, 1, -1, 1))
        return self.third(F.pad(x, (0, 0, 0, 0, 0, 0))).mean((2, 3))


class SequenceNorm(nn.Module):
    """A batch norm over the steps of a sequence, as many as the features of the layer before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.steps = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.steps(self.first(x))))


class OtherAxes(nn.Module):
    """A mean over channels and time, a weighted sum, and a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = torch.add(self.second(x), x, alpha=2)
        y = y * x.mean((-2, -1), keepdim=True)
        return self.second(y) @ x.transpose(1, 2)
