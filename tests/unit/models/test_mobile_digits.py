import torch
from torch import nn

from torchedge.models import MobileDigits


def test_the_network_has_the_size_its_docstring_gives():
    parameters = sum(parameter.numel() for parameter in MobileDigits().parameters())
    assert f"{parameters:,} parameters" in MobileDigits.__doc__


def test_it_is_a_mobilenet_depthwise_pointwise_and_one_residual():
    convolutions = [m for m in MobileDigits().modules() if isinstance(m, nn.Conv2d)]
    depthwise = [c for c in convolutions if c.groups == c.in_channels > 1]
    pointwise = [c for c in convolutions if c.kernel_size == (1, 1)]
    assert (len(depthwise), len(pointwise), len(convolutions)) == (4, 5, 10)


def test_the_residual_adds_its_input():
    block = MobileDigits().features[3].eval()
    nn.init.zeros_(block.branch[-1].weight)
    nn.init.zeros_(block.branch[-1].bias)
    x = torch.rand(1, 48, 7, 7)
    assert torch.equal(block(x), x)
