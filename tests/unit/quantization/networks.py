"""Small networks with one peculiarity each, and random weights and statistics for them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.unit.quantization.awkward_networks import OtherAxes, Padded, SequenceNorm
from tests.unit.quantization.normalised_networks import ConvNext, VisionTransformer

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def trained(model: nn.Module, inputs: Tensor) -> nn.Module:
    """The network as after training: norms with parameters and statistics away from their defaults.

    A fifth of the scales is negative.
    """
    for module in model.modules():
        if isinstance(module, (*BATCH_NORMS, nn.GroupNorm, nn.LayerNorm)):
            if module.weight is None:
                continue
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            with torch.no_grad():
                module.weight[::5] *= -1
    averages = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.track_running_stats]
    for norm in averages:
        norm.momentum = None  # the statistics of one batch, not a tenth of them
    with torch.no_grad():
        model.train()(inputs)
    for norm in averages:
        norm.momentum = 0.1
    return model.eval()


def conv_block(inputs: int, outputs: int, kernel: int = 3, **options: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def with_head(*layers: nn.Module, channels: int = 8) -> nn.Sequential:
    """Layers behind a first convolution on three channels and before a classifier."""
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(conv_block(3, 8), *layers, *pool, nn.Linear(channels, 4))


class OneDimensional(nn.Module):
    """A CNN for signals; its last layer is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ZeroPad1d((3, 1)),
            nn.Conv1d(4, 8, 5, stride=2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 16, 3, padding="same"),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
        )
        self.classifier = nn.Linear(16, 5)
        self.again = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.features(x).flatten(1), 0.2, self.training)
        return self.again(F.relu(self.again(self.classifier(x))))


def autoencoder() -> nn.Module:
    encoder = (
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(8, 8, 3, 2, 1), nn.PReLU(8)),
        *(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.GELU()),
    )
    decoder = (
        *(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 3, 3, 2, 1, 1), nn.Sigmoid()),
    )
    return nn.Sequential(*encoder, *decoder)


def upsampling(kind: str, inputs: int, outputs: int) -> nn.Module:
    transposed = {"2x2": (2, 2, 0, 0), "4x4": (4, 2, 1, 0), "3x3": (3, 2, 1, 1)}
    if kind in transposed:
        return nn.ConvTranspose2d(inputs, outputs, *transposed[kind])
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=kind), nn.Conv2d(inputs, outputs, 1))


class UNet(nn.Module):
    """One level, with a concatenation of what came up and what was kept."""

    def __init__(self, kind: str, width: int = 8) -> None:
        super().__init__()
        self.down = conv_block(3, width)
        self.bottom = conv_block(width, 2 * width)
        self.up = upsampling(kind, 2 * width, width)
        self.joined = conv_block(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.down(x)
        raised = self.up(self.bottom(F.max_pool2d(kept, 2)))
        return self.head(self.joined(torch.cat([raised, kept], 1)))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, gate: type[nn.Module]) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)
        self.relu, self.gate = nn.ReLU(), gate()

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.excite(self.relu(self.squeeze(pooled))))


class Functional(nn.Module):
    """Weights of its own, used in function calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(8, 3, 3, 3))
        self.bias = nn.Parameter(0.1 * torch.randn(8))
        self.depthwise = nn.Parameter(0.2 * torch.randn(8, 1, 3, 3))
        self.raising = nn.Parameter(0.2 * torch.randn(8, 4, 2, 2))
        self.matrix = nn.Parameter(0.2 * torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.weight, self.bias, stride=2, padding=1))
        x = F.relu(F.conv2d(x, self.depthwise, groups=8, padding=1))
        x = F.relu(F.conv_transpose2d(x, weight=self.raising, stride=2))
        x = F.dropout(x.mean((2, 3)), p=0.5, training=self.training)
        return F.linear(x, self.matrix)


class UsedTwice(nn.Module):
    """One tensor as both factors, and as both operands of a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        f = self.first(x)
        f = f * f
        return self.second(f + f).mean((2, 3))


class Detector(nn.Module):
    """Boxes in pixels and scores below one, joined for the output; and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_block(3, 8, stride=2), conv_block(8, 8, stride=2))
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        boxes = self.boxes(features).flatten(2) * 64
        scores = self.scores(features).flatten(2).sigmoid()
        return torch.cat([boxes, scores], 1), features.mean((2, 3))


class ShuffleUnit(nn.Module):
    """Half of the channels goes on, half is convolved, and both are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = conv_block(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        x = torch.cat((kept, self.branch(changed)), dim=1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return x.view(batch, channels, height, width)


class Splitting(nn.Module):
    """Uneven parts, each with a convolution, and one of them left over for the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = torch.split(x, [2, 2, 4], dim=1)
        return self.first(a) + self.second(b) + c


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(channels), nn.ReLU()
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], 1)


class StochasticDepth(nn.Module):
    """Drops whole samples in training, as the one of torchvision; known by its name."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.empty(x.shape[0], 1, 1, 1).bernoulli_(0.5)
        return x * keep / 0.5


class DeepResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop = (
            nn.Sequential(conv_block(8, 8), nn.Conv2d(8, 8, 1)),
            StochasticDepth(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.drop(self.body(x)))


def with_dead_channel() -> nn.Module:
    """A channel without variance, as pruning leaves it."""
    conv = nn.Conv2d(8, 8, 3, bias=False)
    with torch.no_grad():
        conv.weight[0] = 0
    return with_head(conv, nn.BatchNorm2d(8), nn.ReLU())


NETWORKS = {
    "dead_channel": (with_dead_channel, (8, 3, 10, 10)),
    "one_dimensional": (OneDimensional, (8, 4, 64)),
    "autoencoder": (autoencoder, (8, 3, 16, 16)),
    **{
        f"unet_{kind}": (lambda kind=kind: UNet(kind), (4, 3, 16, 16))
        for kind in ("2x2", "4x4", "3x3", "nearest", "bilinear")
    },
    "grouped": (lambda: with_head(conv_block(8, 8, groups=4)), (8, 3, 12, 12)),
    "dilated": (lambda: with_head(conv_block(8, 8, dilation=2)), (8, 3, 12, 12)),
    "depthwise": (
        lambda: with_head(conv_block(8, 8, 5, groups=8), nn.Conv2d(8, 8, 1), nn.ReLU6()),
        (8, 3, 12, 12),
    ),
    "grouped_transposed": (
        lambda: with_head(
            nn.ConvTranspose2d(8, 12, 3, 2, groups=4, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            channels=12,
        ),
        (8, 3, 8, 8),
    ),
    "squeeze_excite": (lambda: with_head(SqueezeExcite(8, nn.Sigmoid)), (8, 3, 12, 12)),
    "hard_squeeze_excite": (
        lambda: with_head(SqueezeExcite(8, nn.Hardsigmoid), nn.Conv2d(8, 8, 1), nn.Hardswish()),
        (8, 3, 12, 12),
    ),
    **{
        activation.__name__.lower(): (
            lambda activation=activation: with_head(
                nn.Conv2d(8, 8, 3), activation(), nn.Conv2d(8, 8, 1), activation()
            ),
            (8, 3, 10, 10),
        )
        for activation in (nn.Hardswish, nn.SiLU, nn.Hardtanh)
    },
    **{
        f"{mode}_borders": (
            lambda mode=mode: with_head(
                nn.Conv2d(8, 8, 3, padding=(1, 2), padding_mode=mode), nn.ReLU()
            ),
            (8, 3, 10, 10),
        )
        for mode in ("reflect", "replicate", "circular")
    },
    "group_norm": (
        lambda: with_head(nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 1)),
        (8, 3, 10, 10),
    ),
    "padded": (Padded, (8, 3, 14, 14)),
    "sequence_norm": (SequenceNorm, (16, 8, 4)),
    "other_axes": (OtherAxes, (8, 3, 12)),
    "functional": (Functional, (8, 3, 12, 12)),
    "used_twice": (UsedTwice, (8, 3, 10, 10)),
    "detector": (Detector, (8, 3, 16, 16)),
    "convnext": (ConvNext, (8, 3, 16, 16)),
    "vision_transformer": (VisionTransformer, (8, 3, 16, 16)),
    "channel_shuffle": (lambda: with_head(ShuffleUnit(), ShuffleUnit()), (8, 3, 10, 10)),
    "split": (lambda: with_head(Splitting(), channels=4), (8, 3, 10, 10)),
    "dense": (
        lambda: with_head(DenseLayer(8, 4), DenseLayer(12, 4), channels=16),
        (8, 3, 10, 10),
    ),
    "stochastic_depth": (lambda: with_head(DeepResidual()), (8, 3, 10, 10)),
    "large_epsilon": (
        lambda: with_head(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU()),
        (8, 3, 10, 10),
    ),
}
