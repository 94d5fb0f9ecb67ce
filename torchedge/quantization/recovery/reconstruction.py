"""How far a layer's output is off, as a quadratic function of the error of its weight."""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from torchedge.quantization.recovery.layerwise import LayerStep
from torchedge.quantization.recovery.patches import as_matrix, sample_rows

__all__ = ["GAIN_WEIGHT", "Gain", "Reconstruction", "reconstruction"]

_ROWS_A_WEIGHT = 32
_FEWEST_ROWS = 4096

# Over layers in a row the errors of the gain add up, those of noise only their squares. Measured
# on EfficientNet-Lite0; less where single weights are turned, which can make up for a gain.
GAIN_WEIGHT = 16.0
_GAIN_WEIGHT_OF_ROUNDING = 4.0


@final
@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much too large or small an output channel comes out, as a function of the weight error.

    ``E[(ŷ - y) · y] = D·hᵀ - ρ``. What falls short of 1 in one layer falls short in the next again,
    and over a network such errors add up, where those that look like noise add up as squares.

    Args:
        direction: ``h``, the moments of input and wanted output, ``(groups, outputs, k)``.
        shortfall: ``ρ``, what the gain lacks without any weight error, ``(groups, outputs)``.
        weight: What the square of the above is multiplied with.
    """

    direction: Tensor
    shortfall: Tensor
    weight: Tensor

    def errors(self, deviation: Tensor) -> Tensor:
        """What it adds to the error of each output channel."""
        return self.weight * self.excess(deviation).square()

    def excess(self, deviation: Tensor) -> Tensor:
        """``D·hᵀ - ρ``."""
        return (deviation * self.direction).sum(-1) - self.shortfall


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The mean square error of a layer's output as a quadratic of its weight error.

    ``E(D) = D·H·Dᵀ - 2·D·cᵀ + r²`` for each output channel, the mean over positions taken off:
    the bias takes care of that. And the square of an error of its gain, many times.

    Args:
        moments: ``H``, of shape ``(groups, k, k)``.
        cross: ``c``, what is wrong without any weight error, of shape ``(groups, outputs, k)``.
        rest: ``r²``, of shape ``(groups, outputs)``.
        gain: The error of the gain, where it counts more than other errors.
    """

    moments: Tensor
    cross: Tensor
    rest: Tensor
    gain: Gain | None = None

    def errors(self, deviation: Tensor) -> Tensor:
        """``E`` of each output channel, for weights that deviate by this matrix."""
        quadratic = (deviation @ self.moments - 2 * self.cross) * deviation
        errors = quadratic.sum(-1) + self.rest
        return errors if self.gain is None else errors + self.gain.errors(deviation)

    def part(self, weights: slice) -> "Reconstruction":
        """The same for some of the weights, with no error in the others."""
        gain = self.gain
        if gain is not None:
            gain = replace(gain, direction=gain.direction[..., weights])
        return replace(
            self,
            moments=self.moments[:, weights, weights],
            cross=self.cross[..., weights],
            gain=gain,
        )

    def row(self, index: int) -> Tensor:
        """Half of the gradient's change with one weight, ``(groups, outputs or 1, k)``."""
        row = self.moments[:, index, None, :]
        if self.gain is None:
            return row
        direction = self.gain.direction
        return row + (self.gain.weight * direction[..., index])[..., None] * direction

    def gradient(self, deviation: Tensor) -> Tensor:
        """``∂E / ∂D``."""
        gradient = 2 * (deviation @ self.moments - self.cross)
        if self.gain is not None:
            excess = self.gain.weight * self.gain.excess(deviation)
            gradient += 2 * excess[..., None] * self.gain.direction
        return gradient


@torch.no_grad()
def reconstruction(step: LayerStep, generator: torch.Generator) -> Reconstruction:
    """Second moments at random positions of all batches, some 32 for each weight of an output."""
    layer = step.layer.layer
    weight = as_matrix(layer.weight, layer)
    wanted = max(_ROWS_A_WEIGHT * weight.shape[2], _FEWEST_ROWS)
    images = sum(len(x) for x in step.inputs)
    rows = [
        sample_rows(layer, x, y, math.ceil(wanted * len(x) / images), generator)
        for x, y in zip(step.inputs, step.targets, strict=True)
    ]
    patches, targets = (torch.cat(parts, dim=1) for parts in zip(*rows, strict=True))
    residual = targets - patches @ weight.transpose(1, 2)
    patches = patches - patches.mean(1, keepdim=True)
    residual = residual - residual.mean(1, keepdim=True)
    count = patches.shape[1]
    moments = patches.transpose(1, 2) @ patches / count
    # Fewer rows than weights leave directions unseen; the average weight error there is not free.
    unseen = weight.shape[2] / (count + weight.shape[2])
    diagonal = torch.diag_embed(moments.diagonal(dim1=1, dim2=2))
    cross = residual.transpose(1, 2) @ patches / count
    return Reconstruction(
        moments=torch.lerp(moments, diagonal, unseen),
        cross=cross * (1 - unseen),
        rest=residual.square().mean(1),
        gain=_gain(patches, targets, residual, 1 - unseen),
    )


def _gain(patches: Tensor, targets: Tensor, residual: Tensor, seen: float) -> Gain:
    wanted = targets - targets.mean(1, keepdim=True)
    count = patches.shape[1]
    variance = wanted.square().mean(1).clamp(min=1e-20)
    return Gain(
        direction=wanted.transpose(1, 2) @ patches / count,
        shortfall=(residual * wanted).mean(1),
        weight=_GAIN_WEIGHT_OF_ROUNDING * seen / variance,
    )
