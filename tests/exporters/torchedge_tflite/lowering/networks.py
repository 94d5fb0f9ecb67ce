"""Small networks, each around something that a file for TFLite can get wrong."""

import torch
import torch.nn.functional as F
from torch import nn


class After(nn.Module):
    """A function between two convolutions, all of whose sizes are equal: axes cannot be guessed."""

    def __init__(self, function, width=8):
        super().__init__()
        self.function = function
        self.before = nn.Conv2d(8, 8, 3, padding=1)
        self.after = nn.Conv2d(width, 8, 1)

    def forward(self, x):
        return self.after(self.function(self.before(x)))


class Product(nn.Module):
    """``q @ k.T`` where channels, height times width and width of heads are all 16."""

    def __init__(self, *, transposed):
        super().__init__()
        self.q, self.k = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1)
        self.head, self.transposed = nn.Linear(16, 3), transposed

    def forward(self, x):
        x = x[:, :, :4, :4]
        q, k = self.q(x).flatten(2), self.k(x).flatten(2)
        q = q.transpose(1, 2) if self.transposed else q
        return self.head(torch.matmul(q, k).mean(2))


class Head(nn.Module):
    """A decoded detection head: parts of very different ranges, joined."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(8, 6, 1)

    def forward(self, x):
        raw = self.convolution(x)
        return torch.cat([torch.sigmoid(raw[:, :2]) * 8, torch.sigmoid(raw[:, 2:])], 1)


class Boxes(nn.Module):
    """Distances to corners, as current detectors decode them, with their scores behind."""

    def __init__(self):
        super().__init__()
        self.box, self.score = nn.Conv2d(8, 4 * 4, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        box = self.box(x).flatten(2).view(len(x), 4, 4, -1).transpose(1, 2).softmax(1)
        steps = torch.arange(4.0)
        distance = torch.einsum("nbsc,b->nsc", box, steps)
        left, right = distance.chunk(2, 1)
        return torch.cat([(right - left) / 2, left + right, self.score(x).flatten(2).sigmoid()], 1)


class Attention(nn.Module):
    """One block of a transformer, with a class token and positions."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(8, 16, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 17, 16))
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.norm(x)).reshape(len(x), 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), 17, 16)
        x = x + self.out(y)
        return self.head((x + self.mlp(x))[:, 0])


class Scaled(nn.Module):
    """A residual branch with a scale for each channel, and channels last in between."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.gamma = nn.Parameter(torch.linspace(-0.5, 0.5, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        y = self.deep(x).permute(0, 2, 3, 1)
        y = self.narrow(F.gelu(self.wide(self.norm(y)))) * self.gamma
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excite with a hard gate, as in MobileNetV3."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = F.hardswish(x)
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(x * gate)


class Flattened(nn.Module):
    """Channels and places, flattened in PyTorch's order: what reads it must know."""

    def __init__(self, *, twice):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(8, 4, 3), nn.Linear(4 * 6 * 6, 5)
        self.twice = twice

    def forward(self, x):
        x = self.convolution(x).flatten(1)
        y = self.linear(x)
        return torch.cat([y, x[:, :5]], 1) if self.twice else y


class Rows(nn.Module):
    """Convolutions over a row, causal and dilated, and a recurrent-like sum at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 8, 3), nn.Conv1d(8, 8, 3, dilation=2, groups=8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(2)
        x = F.relu(self.first(F.pad(x, (2, 0))))
        x = F.relu(self.second(F.pad(x, (4, 0)))) + x
        return self.last(x[:, :, -1])


def shuffled(x):
    """Channels dealt out to groups, as ShuffleNet does."""
    return x.view(len(x), 2, 4, 8, 8).transpose(1, 2).reshape(len(x), 8, 8, 8)


def pieces(x):
    """Both halves, one of them in steps, joined the other way round."""
    first, second = x.chunk(2, 1)
    return torch.cat([second, F.max_pool2d(first, 3, 1, 1)], 1)


def clipped(x):
    """Limits that TFLite has no activation for."""
    return x.clamp(-0.25, 0.5)


FUNCTIONS = {
    "silu": F.silu,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "clip": clipped,
    "shuffle": shuffled,
    "pieces": pieces,
    "transpose": lambda x: x.transpose(2, 3),
    "turn": lambda x: x.permute(0, 2, 3, 1),
    "reflect": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "edge": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "stride": lambda x: x[:, :, ::2, 1::2],
    "gather": lambda x: x[:, [3, 1, 2, 0, 7, 6, 5, 4]],
    "average": lambda x: F.avg_pool2d(x, 2),
    "average_same": lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "maximum": lambda x: F.max_pool2d(x, 3, 2, 1),
    "ceiling": lambda x: F.max_pool2d(x[:, :, :7, :7], 2, ceil_mode=True),
    "nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "linear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "corners": lambda x: F.interpolate(x, size=(15, 15), mode="bilinear", align_corners=True),
    "pixels": lambda x: F.pixel_shuffle(torch.cat([x] * 4, 1), 2),
    "softmax": lambda x: x.softmax(1),
    "batch_norm": nn.BatchNorm2d(8).eval(),
    "prelu": nn.PReLU(8),
    "up": nn.ConvTranspose2d(8, 8, 3, 2, 1, 1, groups=2),
    "instance_norm": nn.InstanceNorm2d(8, affine=True),
    "absolute": torch.abs,
    "exponential": lambda x: torch.exp(-x.abs()),
    "logarithm": lambda x: torch.log1p(x.relu()),
    "root": lambda x: torch.sqrt(x.relu() + 1),
    "sum": lambda x: x * x.sum(1, keepdim=True),
    "border": lambda x: F.pad(x, (1, 0, 0, 2), value=3.0),
    "largest": lambda x: x * x.amax((2, 3), keepdim=True),
    "expanded": lambda x: torch.cat([x.mean((2, 3), keepdim=True).expand_as(x), x[:, 4:]], 1)[
        :, :8
    ],
    "gelu_of_a_product": lambda x: F.gelu(x * x[:, :1]),
    "gate_like": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid().expand_as(x),
    "average_ceiling": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False),
    "hard_gate": lambda x: x * F.hardsigmoid(2 * x),
    "repeated": lambda x: x[:, :4].repeat(1, 2, 1, 1),
}


class NormFirst(nn.Module):
    """Norms before their layers, in a row: one rounding that differs would spread to all."""

    def __init__(self):
        super().__init__()
        self.begin = nn.Conv2d(8, 16, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(5))
        self.layers = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(5))
        with torch.no_grad():
            for norm in self.norms:
                norm.weight.uniform_(-1.5, 1.5)
                norm.bias.uniform_(-1, 1)
                norm.running_mean.uniform_(-1, 1)
                norm.running_var.uniform_(0.2, 2)

    def forward(self, x):
        x = self.begin(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x).relu())
        return x


NETWORKS = {
    "norm_first": NormFirst,
    "product": lambda: Product(transposed=False),
    "product_transposed": lambda: Product(transposed=True),
    "head": Head,
    "boxes": Boxes,
    "attention": Attention,
    "scaled": Scaled,
    "gated": Gated,
    "flattened": lambda: Flattened(twice=False),
    "flattened_twice": lambda: Flattened(twice=True),
    "rows": Rows,
}
