"""Pruned weights under fake quantisation: zero in every pass, learning where they are not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from torchedge.quantization import prepare_qat
from torchedge.quantization.layers import masked_parameters
from torchedge.quantization.modules import QuantizedLayer
from torchedge.scheme import QuantScheme, QuantSpec

SYMMETRIC = QuantSpec(axis=0, narrow=True)
ASYMMETRIC = QuantSpec(axis=0, symmetric=False)
GROUPED = QuantSpec(bits=4, narrow=True, axis=0, group_size=2)


class Masked(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight):
        return weight * self.mask


def checkered(weight):
    return (torch.arange(weight.numel()) % 2).view_as(weight).float()


def pruned(layer, kind):
    mask = checkered(layer.weight)
    if kind == "prune":
        prune.custom_from_mask(layer, "weight", mask)
    else:
        parametrize.register_parametrization(layer, "weight", Masked(mask))
    return mask


@pytest.mark.parametrize("kind", ["prune", "parametrize"])
@pytest.mark.parametrize("spec", [SYMMETRIC, ASYMMETRIC, GROUPED], ids=str)
def test_masked_weights_are_zero_in_every_step_and_the_others_learn(kind, spec):
    """prune's mask is applied when the layer is called, which a quantised layer never does."""
    conv = nn.Conv2d(4, 6, 3)
    mask = pruned(conv, kind)
    quantized = QuantizedLayer(conv, spec, nn.BatchNorm2d(6)).train()
    optimizer = torch.optim.SGD(quantized.parameters(), 0.5, momentum=0.9, weight_decay=0.1)
    x, seen = torch.randn(8, 4, 6, 6), []
    for step in range(4):
        quantized.batchnorm_frozen = step >= 2
        optimizer.zero_grad()
        quantized(x).square().mean().backward()
        optimizer.step()
        weight = quantized.on_grid(quantized.folded()[0]).detach()
        assert bool((weight[mask == 0] == 0).all())
        seen.append(weight[mask == 1])
    assert not torch.equal(seen[0], seen[-1])


@pytest.mark.parametrize("frozen", [False, True])
def test_a_pruned_bias_stays_zero_too(frozen):
    linear = nn.Linear(3, 4)
    prune.custom_from_mask(linear, "bias", torch.tensor([0.0, 1.0, 0.0, 1.0]))
    with torch.no_grad():
        linear.bias_orig.fill_(7)
    assert masked_parameters(linear)[1].tolist() == [0, 7, 0, 7]
    quantized = QuantizedLayer(linear, SYMMETRIC).train(not frozen)
    assert quantized(torch.zeros(1, 3)).tolist() == [[0, 7, 0, 7]]


def test_the_gradient_of_a_masked_weight_is_zero():
    linear = nn.Linear(4, 2)
    mask = pruned(linear, "prune")
    QuantizedLayer(linear, SYMMETRIC).train()(torch.ones(1, 4)).sum().backward()
    assert torch.equal(linear.weight_orig.grad, mask)


def test_a_parametrised_mask_passes_through_preparing_and_copying(images, net):
    pruned(net.project, "parametrize")
    prepared = copy.deepcopy(prepare_qat(net, QuantScheme(), (images[:1],)))
    layer = prepared.get_submodule("project")
    weight = layer.on_grid(layer.folded()[0])
    assert int((weight == 0).sum()) >= weight.numel() // 2
