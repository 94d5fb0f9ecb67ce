"""One network of each kind that goes onto phones and microcontrollers, with data for it."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from benchmarks.peers.crops import crops, normalised
from benchmarks.peers.networks import (
    LITE_SIDES,
    efficientnet_lite,
    mobilenet_v2_random,
    resnet18_random,
)
from torchedge.data import Digits, Keywords, SpokenKeywords, spoken_keywords
from torchedge.models import Classifier, KeywordSpotter, MobileDigits, fit

__all__ = ["NETWORKS", "Network", "keywords", "with_own_statistics"]


@final
@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and data that it has seen and not seen.

    Args:
        build: Makes it, in eval mode.
        data: Makes so many samples.
        samples: How many are compared with PyTorch.
        trained: Its weights are real; else its batch norms must see the data first.
    """

    build: Callable[[], nn.Module]
    data: Callable[[int], Tensor]
    samples: int = 256
    trained: bool = False


class Autoencoder(nn.Module):
    """The shape of MLPerf Tiny's anomaly detector: nine linear layers around eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
        pairs = itertools.pairwise(sizes)
        blocks = [m for a, b in pairs for m in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU())]
        self.layers = nn.Sequential(*blocks, nn.Linear(128, 640))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class OneDimensional(nn.Module):
    """A keyword spotter on 40 coefficients by 49 frames."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [40, 48, 48, 64, 64]
        pairs = list(itertools.pairwise(sizes))
        blocks = [
            m
            for a, b in pairs
            for m in (nn.Conv1d(a, b, 3, padding=1), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(2))
        ]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.features(x).mean(2))
        return result


class UNet(nn.Module):
    """Two levels down and up again, with nearest upsampling and concatenations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = _double(3, 8), _double(8, 16), _double(16, 32)
        self.up_second, self.up_first = _double(48, 16), _double(24, 8)
        self.answer = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(nn.functional.max_pool2d(first, 2))
        deep = nn.functional.interpolate(
            self.bottom(nn.functional.max_pool2d(second, 2)), scale_factor=2.0
        )
        middle = self.up_second(torch.cat([second, deep], 1))
        wide = nn.functional.interpolate(middle, scale_factor=2.0)
        result: Tensor = self.answer(self.up_first(torch.cat([first, wide], 1)))
        return result


def _double(inputs: int, outputs: int) -> nn.Module:
    def block(a: int) -> list[nn.Module]:
        return [nn.Conv2d(a, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*block(inputs), *block(outputs))


@torch.no_grad()
def with_own_statistics(model: nn.Module, data: Tensor) -> nn.Module:
    """Batch norms that know the data, so that signals neither die nor explode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in data.split(16):
        model(batch)
    return model.eval()


def _pictures(size: int) -> Callable[[int], Tensor]:
    """Smooth random pictures with some noise."""

    def made(count: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randn(count, 3, 8, 8, generator=generator)
        smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
        return smooth + 0.3 * torch.randn(smooth.shape, generator=generator)

    return made


def keywords() -> Keywords:
    """A few thousand spoken words; test voices are never trained on."""
    few = SpokenKeywords(clips=4000, test_clips=512)
    return Keywords(spoken_keywords(few, Path("runs/clips")))


def _keyword_spotter() -> nn.Module:
    model = KeywordSpotter()
    fit(Classifier(model), keywords(), 8)
    return model


def _noise(*shape: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def _lite(size: str) -> Network:
    """Trained on ImageNet, with crops of pictures that it has not seen."""
    return Network(
        build=partial(efficientnet_lite, size),
        data=lambda count: normalised(crops(count, LITE_SIDES[size])),
        samples=64,
        trained=True,
    )


NETWORKS: dict[str, Network] = {
    "digits": Network(build=MobileDigits, data=lambda count: Digits().test_images[:count]),
    "autoencoder": Network(build=Autoencoder, data=_noise(640)),
    "cnn_1d": Network(build=OneDimensional, data=_noise(40, 49)),
    "keyword_spotting": Network(
        build=_keyword_spotter,
        data=lambda count: keywords().test.features[:count],
        samples=512,
        trained=True,
    ),
    "unet": Network(build=UNet, data=_pictures(32), samples=64),
    "mobilenet_v2": Network(build=mobilenet_v2_random, data=_pictures(96)),
    "resnet18": Network(build=resnet18_random, data=_pictures(64)),
    "efficientnet_lite0": _lite("lite0"),
    "efficientnet_lite1": _lite("lite1"),
}
