"""Batch norms merged into the layers before them, for methods that change folded weights."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.layers import without_spectral_norm
from torchedge.quantization.modules import QuantizedLayer, WeightedLayer

__all__ = ["fold_batchnorms", "plain_copy"]


@torch.no_grad()
@kinds_checked()
def fold_batchnorms(model: nn.Module) -> nn.Module:
    """A copy of a prepared model whose folded batch norms have become weights and biases.

    Every layer gets a bias, so that its mean can be corrected. Weights that a mask had set to zero
    are zero; the mask itself is gone. In evaluation mode the copy computes
    what the model computed; it can be trained on, without batch statistics.

    Example:
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> merged = fold_batchnorms(prepare_qat(net, QuantScheme(), (torch.zeros(1, 1, 8, 8),)))
        >>> any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
        False
    """
    merged = copied(model)
    for quantized in merged.modules():
        if isinstance(quantized, QuantizedLayer):
            _merge(quantized)
    return merged


def _merge(quantized: QuantizedLayer) -> None:
    weight, bias = quantized.folded()
    quantized.batchnorm = None
    quantized.layer = plain_copy(quantized.layer)
    quantized.layer.weight = nn.Parameter(weight.detach().clone())
    if bias is None:
        bias = weight.new_zeros(_output_channels(quantized))
    quantized.layer.bias = nn.Parameter(bias.detach().clone())


def _output_channels(quantized: QuantizedLayer) -> int:
    layer = quantized.layer
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def plain_copy(layer: WeightedLayer) -> WeightedLayer:
    """A copy without parametrisations and hooks of its weight, so that its weight can be set.

    Copies of a parametrised module share its class, so the class is exchanged and not edited.
    """
    plain = copy.deepcopy(layer)
    without_spectral_norm(plain)
    if parametrize.is_parametrized(plain):
        plain.__class__ = parametrize.type_before_parametrizations(layer)
        del plain.parametrizations
    return plain
