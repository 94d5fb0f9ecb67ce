"""Learned step sizes (LSQ): scales that the optimiser moves along with the weights."""

import copy

import torch
from torch import nn

from torchedge.errors import SchemeError
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer

__all__ = ["learn_step_sizes"]


def learn_step_sizes(model: nn.Module) -> nn.Module:
    """A copy of a prepared model whose scales are parameters (Esser et al. 2020).

    Every activation and every weight gets a learned scale; zero points, and ranges that an
    operation has by definition, stay. The copy computes what ``model`` computes: it begins with
    the scales in use, not with the paper's ``2 · mean|w| / √quant_max``, which at 8 bits covers
    about four times the range of a normal distribution and throws away two bits. For the gradient
    see :func:`~torchedge.quantization.functional.learned_step_quantize`. Do this after
    ``calibrate`` and before the optimiser is made; leave the scales out of weight decay.

    Args:
        model: A model from ``prepare_qat`` whose activations have a range.

    Raises:
        SchemeError: The model holds nothing quantised, its scales are learned already, or a weight
            is asymmetric, so that its zero point would move with the weight and not with the scale.
        CalibrationError: A quantiser has no range yet.

    Example:
        >>> from torchedge.quantization import QuantScheme, calibrate, minmax, prepare_qat
        >>> net = prepare_qat(nn.Sequential(nn.Linear(2, 2)), QuantScheme(), (torch.zeros(1, 2),))
        >>> learned = learn_step_sizes(calibrate(net, [torch.tensor([[-1.0, 1.27]])], minmax))
        >>> [name for name, _ in learned.named_parameters() if "scale" in name]
        ['0.weight_scale', 'quantizers.input_1.learned_scale', 'quantizers._0.learned_scale']
    """
    learning = copy.deepcopy(model)
    quantizers = {n: m for n, m in learning.named_modules() if isinstance(m, FakeQuantize)}
    layers = {n: m for n, m in learning.named_modules() if isinstance(m, QuantizedLayer)}
    _require_fixed_scales(quantizers, layers)
    for name, quantizer in quantizers.items():
        quantizer.require_calibrated(name)
        if not quantizer.fixed:
            quantizer.learned_scale = nn.Parameter(quantizer.scale.detach().clone())
    for layer in layers.values():
        _learn_weight_scale(layer)
    return learning


def _require_fixed_scales(
    quantizers: dict[str, FakeQuantize], layers: dict[str, QuantizedLayer]
) -> None:
    if not layers:
        raise SchemeError("the model holds no quantised layer; run prepare_qat, then calibrate.")
    for name, layer in layers.items():
        if not layer.spec.symmetric:
            raise SchemeError(
                f"the weight of '{name}' is {layer.spec}; a learned weight scale needs the zero "
                "point 0. Prepare the model with symmetric weights."
            )
    learned = [n for n, m in quantizers.items() if m.learned_scale is not None]
    learned += [n for n, m in layers.items() if isinstance(m.weight_scale, nn.Parameter)]
    if learned:
        raise SchemeError(
            f"'{learned[0]}' and {len(learned) - 1:,} more have a learned scale already; "
            "train this model as it is."
        )


def _learn_weight_scale(layer: QuantizedLayer) -> None:
    with torch.no_grad():
        scale, _ = layer.params(layer.folded()[0])
    del layer.weight_scale  # a buffer so far; a parameter may not take its name
    layer.weight_scale = nn.Parameter(scale.clone())
