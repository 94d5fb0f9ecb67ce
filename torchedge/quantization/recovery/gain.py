"""How a layer's rounded output differs from the wanted one: as noise, and in its gain."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from torchedge.quantization.functional import scale_channels
from torchedge.quantization.layers import TRANSPOSED, apply_layer
from torchedge.quantization.recovery.layerwise import LayerStep
from torchedge.quantization.recovery.patches import other_axes
from torchedge.quantization.recovery.reconstruction import GAIN_WEIGHT

__all__ = ["OutputError", "correct_gain", "output_error"]

_SMALLEST, _LARGEST = 0.8, 1.25  # what is further off is no matter of a gain


@final
@dataclass(frozen=True, kw_only=True)
class OutputError:
    """Moments over samples and positions, of each output channel, the means taken off.

    Args:
        error: Variance of what the output is off by.
        wanted: Variance of the wanted output.
        both: Covariance of the two.
    """

    error: Tensor
    wanted: Tensor
    both: Tensor

    @property
    def gain(self) -> Tensor:
        """The slope of the output over the wanted output, 1 for a channel that never changes."""
        return 1 + torch.where(self.wanted > 0, self.both / self.wanted, 0.0)

    @property
    def total(self) -> float:
        """All of it as one number, an error of the gain counted many times."""
        coherent = torch.where(self.wanted > 0, self.both.square() / self.wanted, 0.0)
        return float((self.error + GAIN_WEIGHT * coherent).sum())


@torch.no_grad()
def output_error(step: LayerStep) -> OutputError:
    """Of the layer that the walk has reached, as it is now."""
    layer = step.layer.layer
    weight = step.layer.on_grid(layer.weight)
    sums = torch.zeros(())
    for x, target in zip(step.inputs, step.targets, strict=True):
        error = apply_layer(layer, x, weight, layer.bias) - target
        others = other_axes(layer, error)
        products = (error, target, error.square(), target.square(), error * target)
        sums = sums + torch.stack([product.sum(others) for product in products]).double()
    count = sum(target.numel() for target in step.targets) / sums.shape[1]
    error_mean, target_mean, errors, targets, both = sums / count
    return OutputError(
        error=(errors - error_mean.square()).clamp(min=0).float(),
        wanted=(targets - target_mean.square()).clamp(min=0).float(),
        both=(both - error_mean * target_mean).float(),
    )


@torch.no_grad()
def correct_gain(step: LayerStep) -> None:
    """Scale, in place, the weight of the layer so that its output has the wanted slope.

    Ranges that clip, here and in the layers before, make all outputs a little too small; a layer
    of least squared error makes them smaller still, because that shrinks what is noise too. Over
    fifty layers, two percent each are a factor of three.
    """
    layer = step.layer.layer
    factors = 1 / output_error(step).gain.clamp(_SMALLEST, _LARGEST)
    groups = layer.groups if isinstance(layer, TRANSPOSED) else 0
    layer.weight.copy_(scale_channels(layer.weight, factors, groups))
