"""Small networks and artefacts that many tests need; all is seeded and lives in tmp folders."""

import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import nn

from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.exporting import Artifact
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.scheme import QuantScheme

# The same examples in every run, and no clock: this is about values, and the machine may be busy.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")


_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_POLITE = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _signals_that_arrive():
    """Programs that tests start hear signals, though whoever started the tests ignores them.

    A shell ignores SIGINT for what it runs in the background, and so does all that this starts.
    """
    ignored = [s for s in _POLITE if signal.getsignal(s) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


class ResidualNet(nn.Module):
    """One of everything that a plain CNN has: convolutions, residual, pools, flatten, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.project = nn.Conv2d(8, 8, 1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        y = self.project(self.relu(self.norm(self.depthwise(x))))
        x = nn.functional.max_pool2d(torch.relu(x + y), 2)
        return self.classifier(torch.flatten(self.pool(x), 1))


def with_batchnorm_statistics(model: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Statistics and affine parameters away from their defaults, so that folding matters."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = None
    with torch.no_grad():
        model.train()(inputs)
    return model.eval()


@pytest.fixture
def images():
    return torch.rand(32, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net(images):
    return with_batchnorm_statistics(ResidualNet(), images)


def quantized(net: nn.Module, images: torch.Tensor, scheme: QuantScheme) -> nn.Module:
    prepared = prepare_qat(net, scheme, (images[:1],))
    return calibrate(prepared, images.split(8), minmax)


@pytest.fixture
def save_model(net, images, tmp_path):
    """Saves the residual net with a target's scheme; extra arguments go to CompressedModel."""

    def save(target: str = "onnx-cpu", folder: Path | None = None, **changes) -> Artifact:
        scheme = exporting.target(target).scheme
        fields = {
            "module": quantized(net, images, scheme),
            "example_inputs": (images[:1],),
            "samples": (images,),
            "labels": torch.arange(len(images)) % 4,
            "calibration": (images[:16],),
            "scheme": scheme,
            "name": "residual",
        }
        return CompressedModel(**{**fields, **changes}).save(folder or tmp_path / "trained")

    return save
