"""Weight scales with the least error, instead of those that hold the largest weight."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from torchedge.errors import SchemeError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.functional import affine_params, fake_quantize, weight_params
from torchedge.quantization.modules import QuantizedLayer
from torchedge.quantization.recovery.layerwise import in_float, kept_batches, layer_steps
from torchedge.quantization.recovery.patches import as_matrix
from torchedge.quantization.recovery.reconstruction import (
    GAIN_WEIGHT,
    Reconstruction,
    reconstruction,
)

__all__ = ["choose_scale", "choose_weight_scales"]

# From ratios of 2 / 5 of the largest weight up to all of it; all is a candidate, so no error grows.
_RATIOS = tuple(ratio / 40 for ratio in range(16, 41))

ChannelErrors: TypeAlias = Callable[[Tensor], Tensor]


@kinds_checked()
def choose_weight_scales(
    model: nn.Module,
    batches: object = None,
    *,
    reference: nn.Module | None = None,
    seed: int = 0,
) -> nn.Module:
    """A copy of ``model`` whose weight scales clip where that costs less than it gains.

    For each output channel ``s = ratio · max|W| / quant_max`` with the ratio of the least error:
    ``Σ (W - W')²`` without data, and with data that of the layer's output, from the second moments
    of its inputs. The part of the error that only makes the channel smaller or larger counts many
    times, because in the layers behind it adds up. Scales are stored in ``weight_scale``; weights
    stay as they are.

    Args:
        model: A model from ``prepare_qat``, calibrated where there are batches.
        batches: Inputs as the network sees them in use; all are held in memory.
        reference: The float network, as a prepared model of the same graph; by default ``model``
            with its quantisers off.
        seed: Of the choice of positions in images.

    Raises:
        SchemeError: Weights have zero points, or the model does not come from ``prepare_qat``.
        CalibrationError: ``batches`` is empty.

    Example:
        >>> from torchedge.quantization import QuantScheme, QuantSpec, prepare_qat
        >>> scheme = QuantScheme(weight=QuantSpec(bits=2, axis=0))
        >>> net = nn.Sequential(nn.Linear(64, 1))
        >>> chosen = choose_weight_scales(prepare_qat(net, scheme, (torch.zeros(1, 64),)))
        >>> bool(chosen.get_submodule("0").weight_scale < net[0].weight.abs().max())
        True
    """
    chosen = fold_batchnorms(copied(model).eval())
    if batches is None:
        for layer in chosen.modules():
            if isinstance(layer, QuantizedLayer):
                layer.weight_scale = choose_scale(layer, None)
        return chosen.train(model.training)
    generator = torch.Generator().manual_seed(seed)
    baseline = in_float(model if reference is None else reference)
    for step in layer_steps(chosen, baseline, kept_batches(chosen, batches)):
        step.layer.weight_scale = choose_scale(step.layer, reconstruction(step, generator))
    return chosen.train(model.training)


@torch.no_grad()
def choose_scale(quantized: QuantizedLayer, target: Reconstruction | None) -> Tensor:
    """The scale of the least error, of each output channel where the grid has channels.

    Raises:
        SchemeError: The weights have zero points.
    """
    spec, layer = quantized.spec, quantized.layer
    if not spec.symmetric:
        raise SchemeError(
            f"a grid with zero points ({spec}) has no weight scale to choose; "
            "use a scheme with symmetric weights."
        )
    weight = layer.weight.detach()
    scale, zero_point = weight_params(weight, spec)
    exact = as_matrix(weight, layer)
    best, least = scale, torch.full((), torch.inf)
    for ratio in _RATIOS:
        largest = scale * ratio * spec.quant_max
        candidate, _ = affine_params(-largest, largest, spec)
        deviation = as_matrix(fake_quantize(weight, candidate, zero_point, spec) - weight, layer)
        errors = _weight_errors(deviation, exact) if target is None else target.errors(deviation)
        errors = _by_scale(errors, scale)
        best, least = torch.where(errors <= least, candidate, best), least.minimum(errors)
    return best.clone()


def _weight_errors(deviation: Tensor, exact: Tensor) -> Tensor:
    """Squared error of each output channel; what makes all of it smaller counts many times."""
    along = (deviation * exact).sum(-1).square() / exact.square().sum(-1).clamp(min=1e-20)
    return deviation.square().sum(-1) + GAIN_WEIGHT * along


def _by_scale(errors: Tensor, scale: Tensor) -> Tensor:
    """Errors of ``(groups, outputs of a group)`` summed over what has one scale."""
    if scale.ndim == 0 or scale.numel() == 1:
        return errors.sum()
    summed = errors.flatten() if len(scale) == errors.numel() else errors.sum(0)
    return summed.view(-1, *[1] * (scale.ndim - 1))
