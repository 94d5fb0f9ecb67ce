"""How far a layer's output is off, as a quadratic function of the error of its weight."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from torchedge.quantization.recovery.lockstep import LayerStep
from torchedge.quantization.recovery.patches import as_matrix, sample_rows

__all__ = ["Reconstruction", "reconstruction"]

_ROWS_A_WEIGHT = 32
_FEWEST_ROWS = 4096


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The mean square error of a layer's output as a quadratic of its weight error.

    ``E(D) = D·H·Dᵀ - 2·D·cᵀ + r²`` for each output channel, the mean over positions taken off:
    the bias takes care of that.

    Args:
        moments: ``H``, of shape ``(groups, k, k)``.
        cross: ``c``, what is wrong without any weight error, of shape ``(groups, outputs, k)``.
        rest: ``r²``, of shape ``(groups, outputs)``.
    """

    moments: Tensor
    cross: Tensor
    rest: Tensor

    def errors(self, deviation: Tensor) -> Tensor:
        """``E`` of each output channel, for weights that deviate by this matrix."""
        quadratic = (deviation @ self.moments - 2 * self.cross) * deviation
        return quadratic.sum(-1) + self.rest

    def gradient(self, deviation: Tensor) -> Tensor:
        """``∂E / ∂D``."""
        return 2 * (deviation @ self.moments - self.cross)


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
    )
