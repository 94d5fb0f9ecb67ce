"""A network small enough to export in seconds, with all that TensorRT's rules speak of."""

from pathlib import Path

import torch
from torch import Tensor, nn

from torchedge.backends import TENSORRT
from torchedge.compressed import CompressedModel
from torchedge.exporting import Artifact
from torchedge.quantization import calibrate, prepare_qat
from torchedge.quantization.calibration import minmax

BATCH = 4


class TinyNet(nn.Module):
    """Conv-bn-ReLU6, an identity residual, a projection residual, both kinds of pool, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU6()
        )
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.max_pool = nn.MaxPool2d(2)
        self.long_branch = nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 1)
        )
        self.projection = nn.Conv2d(4, 6, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.max_pool(torch.relu(x + self.branch(x)))
        x = torch.relu(self.long_branch(x) + self.projection(x))
        return self.head(self.pool(x).flatten(1))


def images(count: int, seed: int = 0) -> Tensor:
    """Normally distributed images with a few outliers, so that entropy and min-max differ."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 1, 8, 8, generator=generator)
    return values * torch.where(torch.rand(values.shape, generator=generator) < 0.01, 8.0, 1.0)


def save_trained(folder: Path, calibration: tuple[Tensor, ...]) -> Artifact:
    """The quantised tiny network with min-max ranges, saved as a recipe would save it."""
    torch.manual_seed(0)
    data = images(4 * BATCH)
    prepared = prepare_qat(TinyNet().eval(), TENSORRT, (data[:BATCH],))
    return CompressedModel(
        module=calibrate(prepared, [data], minmax),
        example_inputs=(data[:BATCH],),
        samples=(data,),
        calibration=calibration,
        scheme=TENSORRT,
        name="tiny",
    ).save(folder)
