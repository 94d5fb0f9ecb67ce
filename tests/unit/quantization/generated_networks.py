"""Small networks of every structure that recovery has to see through, drawn by Hypothesis."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

__all__ = ["Drawn", "networks"]

CHANNELS = 4
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, lambda: nn.PReLU(CHANNELS), nn.Identity, nn.Hardswish)


def conv(inputs=CHANNELS, outputs=CHANNELS, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


class Residual(nn.Module):
    """Its last layer reads the stream, or a branch of it, and writes to the stream."""

    def __init__(self, layers):
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class SplitAndJoin(nn.Module):
    """One half of the channels goes through a layer; concatenated, both go on."""

    def __init__(self):
        super().__init__()
        self.layer = conv(CHANNELS // 2, CHANNELS // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat([torch.relu(self.layer(first)), second], dim=1)


class Shared(nn.Module):
    """One layer, called twice."""

    def __init__(self):
        super().__init__()
        self.layer = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(self.layer(x)))


class TiedToAnother(nn.Module):
    """Two layers with one parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv(kernel=1), conv(kernel=1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class PooledOverFeatures(nn.Module):
    """A head that pools neighbours among features, as if they were positions."""

    def __init__(self, features):
        super().__init__()
        self.hidden, self.last = nn.Linear(features, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.hidden(torch.flatten(x, 1)))
        return self.last(nn.functional.max_pool1d(x, 3, 1, 1))


class FlattenedAndAdded(nn.Module):
    """A flattened image and the features of a linear layer in one sum."""

    def __init__(self, size):
        super().__init__()
        self.layer, self.features = conv(), nn.Linear(CHANNELS, CHANNELS * size * size)
        self.last = nn.Linear(CHANNELS * size * size, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.flatten(torch.relu(self.layer(x)), 1)
        return self.last(flat + torch.relu(self.features(x.mean((2, 3)))))


BLOCKS = {
    "zeros": lambda: conv(),
    "reflect": lambda: conv(padding_mode="reflect"),
    "replicate": lambda: conv(padding_mode="replicate"),
    "circular": lambda: conv(padding_mode="circular"),
    "same": lambda: nn.Conv2d(CHANNELS, CHANNELS, (1, 3), padding="same"),
    "groups": lambda: conv(groups=2),
    "depthwise": lambda: conv(groups=CHANNELS),
    "without bias, normalised": lambda: nn.Sequential(conv(bias=False), nn.BatchNorm2d(CHANNELS)),
    "transposed": lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1),
    "transposed groups": lambda: nn.Sequential(
        nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1, groups=2), nn.BatchNorm2d(CHANNELS)
    ),
    "residual of one layer": lambda: Residual([conv()]),
    "residual of depthwise layers": lambda: Residual(
        [conv(groups=CHANNELS), nn.ReLU(), conv(groups=CHANNELS)]
    ),
    "split": SplitAndJoin,
    "shared": Shared,
    "tied": TiedToAnother,
    "border": lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(CHANNELS, CHANNELS, 3)),
    "pool": lambda: nn.MaxPool2d(3, 1, 1),
}
HEADS = {
    "flattened": lambda size: nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * size**2, 3)),
    "pooled": lambda size: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 8), nn.ReLU(), nn.Linear(8, 3)
    ),
    "image": lambda size: conv(outputs=2, kernel=1),
    "pooled over features": lambda size: PooledOverFeatures(CHANNELS * size**2),
    "flattened and added": FlattenedAndAdded,
}
SIZE = 6


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn, so that a failure can be read."""

    blocks: tuple[str, ...]
    activations: tuple[int, ...]
    head: str
    spread: float
    seed: int

    def network(self) -> nn.Module:
        """In evaluation, with batch norms that do something."""
        torch.manual_seed(self.seed)
        layers: list[nn.Module] = [conv(2), nn.ReLU()]
        for name, activation in zip(self.blocks, self.activations, strict=True):
            layers += [BLOCKS[name](), ACTIVATIONS[activation]()]
        network = nn.Sequential(*layers, HEADS[self.head](SIZE)).eval()
        for parameter in {id(p): p for p in network.parameters()}.values():
            spread = 10 ** (self.spread * (2 * torch.rand(len(parameter)) - 1))
            parameter.data *= spread.view(-1, *[1] * (parameter.ndim - 1))
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.3, 3)
        return network

    def images(self, count: int, seed: int = 0) -> Tensor:
        """Smooth pictures and noise."""
        generator = torch.Generator().manual_seed(1000 * self.seed + seed)
        coarse = torch.randn(count, 2, 3, 3, generator=generator)
        fine = torch.randn(count, 2, SIZE, SIZE, generator=generator)
        return nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear") + 0.5 * fine


@st.composite
def networks(draw: st.DrawFn, spread: float = 1.0) -> Drawn:
    """Up to four blocks, an activation after each, and a head."""
    blocks = draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4))
    chosen = st.integers(0, len(ACTIVATIONS) - 1)
    return Drawn(
        blocks=tuple(blocks),
        activations=tuple(draw(chosen) for _ in blocks),
        head=draw(st.sampled_from(sorted(HEADS))),
        spread=draw(st.sampled_from([0.0, spread])),
        seed=draw(st.integers(0, 10_000)),
    )
