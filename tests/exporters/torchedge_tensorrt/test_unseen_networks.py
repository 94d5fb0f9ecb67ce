"""Bundles of networks in which something stands between a layer and what TensorRT fuses it with."""

import pytest
import torch
import torchvision
from torch import nn

import torchedge
import torchedge.exporting
from tests.unit.graph.networks import NormAct
from torchedge.backends import TENSORRT
from torchedge.bench.census import Census
from torchedge.compressed import CompressedModel
from torchedge.quantization import calibrate, prepare_qat
from torchedge.quantization.calibration import minmax
from torchedge_tensorrt.census import eligible_census


class Skip(nn.Module):
    """A convolution, something that vanishes in an export, and an addition."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.between, self.head = between, nn.Conv2d(8, 4, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(x + self.between(self.conv(x))))


class Normalised(nn.Module):
    """A residual whose sum is moved to channels last before it is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        moved = (self.conv(x) + x).permute(0, 2, 3, 1)
        return self.head(self.norm(moved).mean((1, 2)))


class NormalisedAfterPooling(nn.Module):
    """A scaled residual whose average is quantised for the pool, and then normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x * self.scale + self.conv(x)
        return self.head(self.norm(x.mean((2, 3))))


class PadReadTwice(nn.Module):
    """Zeros below and to the right, which a convolution and a max pool read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 2)
        self.pool, self.head = nn.MaxPool2d(2, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x):
        x = nn.functional.pad(torch.relu(self.stem(x)) * 0.5, (0, 1, 0, 1))
        return self.head(torch.cat([self.pool(x), torch.relu(self.conv(x))], 1))


class NormActBetween(Skip):
    """A norm with an activation, an identity in it, and an addition."""

    def __init__(self) -> None:
        super().__init__(NormAct(8))
        self.between.act = nn.Identity()


class Tokens(nn.Module):
    """Linear layers over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 8)

    def forward(self, x):
        return self.second(torch.relu(self.first(x.flatten(2))))


class Attention(nn.Module):
    """Products of two activations between linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.head = nn.LayerNorm(64), nn.Linear(64, 96), nn.Linear(32, 5)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x.flatten(2))).chunk(3, -1)
        return self.head((q @ k.transpose(-2, -1)).softmax(-1) @ v)


class Mirrored(nn.Module):
    """Convolutions that pad with other values than zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(8, 8, 3, padding=1, padding_mode="replicate")

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


NETWORKS = {
    "identity": lambda: Skip(nn.Identity()),
    "dropout": lambda: Skip(nn.Dropout(0.1)),
    "stochastic_depth": lambda: Skip(torchvision.ops.StochasticDepth(0.1, "row")),
    "norm_with_an_activation": NormActBetween,
    "normalised_after_a_move": Normalised,
    "normalised_after_pooling": NormalisedAfterPooling,
    "pad_read_twice": PadReadTwice,
    "tokens": Tokens,
    "attention": Attention,
    "mirrored_borders": Mirrored,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_vanishes_in_an_export_parts_nothing_that_tensorrt_fuses(name, tmp_path):
    torch.manual_seed(0)
    x = torch.rand(4, 3, 8, 8)
    model = calibrate(prepare_qat(NETWORKS[name]().eval(), TENSORRT, (x,)), [x], minmax)
    source = CompressedModel(
        module=model, example_inputs=(x,), samples=(x,), calibration=(x,), scheme=TENSORRT
    ).save(tmp_path / "torch")
    target = torchedge.exporting.target("jetson")
    bundle = torchedge.export(source, target, tmp_path / "out").artifact
    assert bundle.details["rules_broken"] == []
    census = eligible_census(bundle.path / "model_qdq.onnx")
    assert isinstance(census, Census)
    assert census.integer_share == 1.0 or name in {"attention", "normalised_after_a_move"}
