"""Networks whose channels are removed: torchvision's families, and structures that they lack."""

from collections.abc import Callable, Mapping
from typing import final

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.coverage import SIZES, images, with_own_statistics
from benchmarks.coverage import network as classifier

__all__ = ["NAMES", "UNet", "network", "pictures"]


def _conv_bn_relu(inputs: int, outputs: int, *, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@final
class UNet(nn.Module):
    """Two steps down, two up by transposed convolutions, joined with what they left on the way."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = _conv_bn_relu(3, width)
        self.second = _conv_bn_relu(width, 2 * width)
        self.bottom = _conv_bn_relu(2 * width, 4 * width)
        self.rise = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.left = _conv_bn_relu(4 * width, 2 * width)
        self.rise_again = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.last = _conv_bn_relu(2 * width, width)
        self.classes = nn.Conv2d(width, 4, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four classes for each pixel."""
        first = self.first(x)
        second = self.second(self.pool(first))
        bottom = self.bottom(self.pool(second))
        middle = self.left(torch.cat([self.rise(bottom), second], 1))
        scores: Tensor = self.classes(self.last(torch.cat([self.rise_again(middle), first], 1)))
        return scores


def _grouped() -> nn.Module:
    return nn.Sequential(
        _conv_bn_relu(3, 64),
        _conv_bn_relu(64, 128, groups=4),
        _conv_bn_relu(128, 128, groups=128),
        _conv_bn_relu(128, 128, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def _small_vit() -> nn.Module:
    model = torchvision.models.VisionTransformer(
        image_size=64,
        patch_size=8,
        num_layers=4,
        num_heads=8,
        hidden_dim=128,
        mlp_dim=512,
        num_classes=10,
    )
    nn.init.normal_(model.heads[-1].weight, std=0.05)  # it begins at zero
    return model


_MORE: Mapping[str, tuple[int, Callable[[], nn.Module]]] = {
    "resnext50_32x4d": (64, lambda: torchvision.models.resnext50_32x4d(weights=None)),
    "unet": (64, UNet),
    "grouped": (32, _grouped),
    "small_vit": (64, _small_vit),
}
NAMES = (*SIZES, *_MORE)


def network(name: str) -> nn.Module:
    """A network with random weights, in evaluation mode; its batch norms know :func:`pictures`."""
    if name in _MORE:
        torch.manual_seed(0)
        model = _MORE[name][1]()
    else:
        model = classifier(name)
    return with_own_statistics(model.eval(), pictures(name))


def pictures(name: str) -> Tensor:
    """Random pictures of the size that the network is tried with."""
    return images(SIZES[name] if name in SIZES else _MORE[name][0])
