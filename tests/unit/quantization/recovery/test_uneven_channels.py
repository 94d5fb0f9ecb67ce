"""The case that equalisation was made for: channels that differ a thousandfold."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from torchedge import exporting
from torchedge.data.digits import Digits
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.recovery import Recovery, quantize
from torchedge.quantization.recovery.channel_groups import float_graph

pytest.importorskip("mlxtend")

SCHEME = exporting.target("onnx-cpu").scheme


class Reparametrized(nn.Module):
    """A block of depthwise and pointwise convolutions, as in MobileOne with its branches merged."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norms = nn.ModuleList((nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)))

    def forward(self, x):
        x = torch.relu(self.norms[0](self.depthwise(x)))
        return torch.relu(self.norms[1](self.pointwise(x)))


def trained(digits):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        *(Reparametrized(16, 32, 2), Reparametrized(32, 32, 1)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
    )
    images, labels = digits.train_images, digits.train_labels
    batches = [b for _ in range(5) for b in torch.randperm(len(images)).split(64)]
    optimizer = torch.optim.Adam(net.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, len(batches))
    for chosen in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        rates.step()
    return float_graph(net.eval(), (images[:1],))


@torch.no_grad()
def made_uneven(net):
    """The same function, the channels between layers scaled by 1 to 1,000."""
    chain = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    for writer, reader in pairwise(chain):
        factors = torch.logspace(0, 3, writer.out_channels)
        factors = factors[torch.randperm(len(factors))]
        writer.weight *= factors.view(-1, 1, 1, 1)
        writer.bias *= factors
        axis = 0 if reader.groups > 1 else 1
        reader.weight /= factors.view(-1, *[1] * (3 - axis))
    return net


@torch.no_grad()
def accuracy(net, digits):
    return float((net.eval()(digits.test_images).argmax(1) == digits.test_labels).float().mean())


@pytest.mark.slow
def test_channels_a_thousandfold_apart_ruin_plain_quantisation_and_are_recovered():
    digits = Digits()
    net = trained(digits)
    exact = accuracy(net, digits)
    uneven = made_uneven(net)
    assert accuracy(uneven, digits) == pytest.approx(exact, abs=0.001)
    batches = digits.train_images[:256].split(64)
    plain = calibrate(prepare_qat(uneven, SCHEME, (batches[0][:1],)), batches, minmax)
    assert exact > 0.93
    assert accuracy(plain, digits) < 0.6 * exact
    repair = Recovery(weight_scales=False, rounding=False)
    assert accuracy(quantize(uneven, SCHEME, batches, effort=repair), digits) >= 0.99 * exact
