"""One small artefact of every format, to be spoiled."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import torchedge
from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.distillation.cache import cache_teacher
from torchedge.exporting.artifact import copy_artifact
from torchedge.pruning.masks import mask_weights
from torchedge.pruning.tickets import Ticket, plain_weights
from torchedge.quantization import calibrate, minmax, prepare_qat

__all__ = ["TARGETS", "images", "network", "sources"]

# The target whose export leaves each format behind, the last of its way.
TARGETS: Mapping[str, str] = {
    "onnx": "onnx-cpu",
    "tensorrt-bundle": "jetson",
    "tflite": "raspberry-pi-4",
    "tflite-micro": "arduino-nano-33-ble",
    "edgetpu": "coral-edge-tpu",
}


class _Small(nn.Module):
    """A few hundred weights, and the operators that most networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four classes for pictures of 16 × 16."""
        x = self.stem(x)
        return self.classifier(torch.flatten(self.pool(x + self.block(x)), 1))


def network() -> nn.Module:
    """The same network at every call, in evaluation mode."""
    torch.manual_seed(0)
    return _Small().eval()


def images() -> Tensor:
    """The same sixteen pictures at every call."""
    return torch.rand(16, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def sources(folder: Path, formats: tuple[str, ...] = tuple(TARGETS)) -> dict[str, Path]:
    """Write the artefacts and return their folders by format.

    Args:
        folder: New or empty.
        formats: Of exports; trained models, a teacher's cache and a ticket are always among them.
    """
    data = images()
    found = {"torch": _trained("onnx-cpu", data, folder / "torch")}
    for name in formats:
        trained = folder / f"for-{name}"
        _trained(TARGETS[name], data, trained)
        place = exporting.target(TARGETS[name])
        made = torchedge.export(
            exporting.load_artifact(trained), place, folder / name, gate=exporting.Gate(forced=True)
        ).artifact
        alone = folder / f"{name}-alone"  # which holds its samples itself
        alone.mkdir()
        found[name] = copy_artifact(made, alone).path
    cache_teacher(network(), TensorDataset(data), folder / "cache")
    found["teacher-cache"] = folder / "cache"
    found["ticket"] = _ticket(folder / "ticket")
    return found


def _trained(target: str, data: Tensor, folder: Path) -> Path:
    scheme = exporting.target(target).scheme
    prepared = calibrate(prepare_qat(network(), scheme, (data[:1],)), data.split(4), minmax)
    CompressedModel(
        module=prepared,
        example_inputs=(data[:1],),
        samples=(data,),
        calibration=(data,),
        scheme=scheme,
        name="small",
        class_names=("north", "east", "south", "west"),
    ).save(folder)
    return folder


def _ticket(folder: Path) -> Path:
    plain = network()
    masks = {"classifier.weight": (torch.rand(4, 8) > 0.5).float()}
    masked = mask_weights(plain, masks)
    Ticket.of(masked, plain_weights(plain)).save(folder)
    return folder
