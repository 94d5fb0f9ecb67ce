"""Small networks, each with what once goes wrong on the way to TFLite."""

import torch
from torch import nn
from torch.nn import functional as F


class Padded(nn.Module):
    """Strides over even sizes, where PyTorch pads at both ends and TensorFlow's SAME at one."""

    def __init__(self):
        super().__init__()
        self.both_ends = nn.Conv2d(2, 4, 3, 2, 1)
        self.one_end = nn.Conv2d(4, 4, 3, 2)
        self.same = nn.Conv2d(4, 4, 5, padding=2)

    def forward(self, x):
        x = F.pad(torch.relu(self.both_ends(x)), (0, 1, 0, 1))
        return self.same(torch.relu(self.one_end(x)))


class Dense(nn.Module):
    """Flattens channels and places, whose order differs in TFLite."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.wide = nn.Linear(4 * 6 * 5, 7)
        self.narrow = nn.Linear(7, 3)

    def forward(self, x):
        x = torch.flatten(torch.relu(self.convolution(x)), 1)
        return self.narrow(torch.relu(self.wide(x)))


class OneDimensional(nn.Module):
    """A keyword spotter in miniature; its average changes the scale."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(6, 8, 3, padding=1)
        self.depthwise = nn.Conv1d(8, 8, 3, 2, 1, groups=8)
        self.pool = nn.MaxPool1d(2)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.depthwise(torch.relu(self.first(x))))
        return self.classifier(self.pool(x).mean(2))


class DepthwiseRow(nn.Module):
    """Depthwise convolutions of a row with a stride and a multiplier, and a pooled end."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(6, 8, 3)
        self.pool = nn.MaxPool1d(2)
        self.halve = nn.Conv1d(8, 8, 3, 2, 1, groups=8)
        self.widen = nn.Conv1d(8, 16, 3, dilation=2, groups=8)
        self.average = nn.AdaptiveAvgPool1d(1)
        self.classifier = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.halve(self.pool(torch.relu(self.stem(x)))))
        return self.classifier(self.average(torch.relu(self.widen(x))).flatten(1))


class SmallUNet(nn.Module):
    """A concatenation, whose operands share a scale, and a picture as its answer."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(1, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.Conv2d(8, 4, 3, padding=1)
        self.answer = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = torch.relu(self.wide(x))
        b = F.interpolate(torch.relu(self.down(a)), scale_factor=2.0)
        return self.answer(torch.cat([a, torch.relu(self.up(b))], 1))


class Gated(nn.Module):
    """Hard-swish, squeeze and excitation, softmax: ranges that are fixed, and float islands."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.swish = nn.Hardswish()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(8, 4, 1)
        self.expand = nn.Conv2d(4, 8, 1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x):
        x = self.swish(self.stem(x))
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(self.squeeze(x)))))
        return torch.softmax(self.classifier((x * gate).mean((2, 3))), 1)


class TwoAnswers(nn.Module):
    """A row of scores and a picture, from averages over even sizes, which have ties."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.halve = nn.AvgPool2d(2)
        self.picture = nn.Conv2d(4, 4, 3, groups=2)
        self.classifier = nn.Linear(4, 3)

    def forward(self, x):
        x = self.halve(torch.relu(self.stem(x)))
        return self.classifier(x.mean((2, 3))), self.picture(x)


class TwoSums(nn.Module):
    """Residual sums one after the other, of pictures whose three sizes differ."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.first(x))
        return x + self.second(x)


class Wide(nn.Module):
    """Weights so many that TensorFlow stores them in bytes for a file of dynamic range."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.hidden = nn.Linear(8 * 8 * 8, 64)
        self.classifier = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.flatten(torch.relu(self.stem(x)), 1)
        return self.classifier(torch.relu(self.hidden(x)))


INPUT_SHAPES = {
    Padded: (2, 12, 12),
    Dense: (3, 6, 5),
    OneDimensional: (6, 20),
    DepthwiseRow: (6, 37),
    SmallUNet: (1, 8, 8),
    Gated: (3, 12, 12),
    TwoAnswers: (1, 8, 8),
    TwoSums: (2, 6, 10),
    Wide: (1, 8, 8),
}
