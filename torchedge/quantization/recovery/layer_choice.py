"""One layer's repairs, each kept where it is better on samples that it was not computed from."""

from dataclasses import dataclass
from typing import final

import torch

from torchedge.quantization.recovery.gain import correct_gain, output_error
from torchedge.quantization.recovery.layerwise import LayerStep
from torchedge.quantization.recovery.reconstruction import reconstruction
from torchedge.quantization.recovery.rounding import round_layer
from torchedge.quantization.recovery.weight_ranges import choose_scale

__all__ = ["WeightRepairs", "repair_weight"]


@final
@dataclass(frozen=True, kw_only=True)
class WeightRepairs:
    """What is tried on a weight.

    Args:
        gains: Whether it may be scaled.
        scales: Whether it may be clipped.
        rounding: Whether each number is rounded up or down for the layer's output.
        iterations: Steps of Adam that the rounding gets.
    """

    gains: bool
    scales: bool
    rounding: bool
    iterations: int


@torch.no_grad()
def repair_weight(
    step: LayerStep, held: int, repairs: WeightRepairs, generator: torch.Generator
) -> None:
    """Give the layer that the walk has reached a better weight scale and rounding, in place.

    Without rounding, the scale is that of the least squared error of the weight, which needs no
    second moments.

    Args:
        step: The layer.
        held: So many of its batches, the last ones, are held out.
        repairs: What is tried.
        generator: Of the choice of positions in images.
    """
    layer = step.layer
    if not layer.enabled:
        return  # or left in float on purpose
    judge = _Judge(step.of(slice(-held, None)))
    if repairs.gains:
        weight = layer.layer.weight.clone()
        correct_gain(step.of(slice(max((len(step.inputs) - held) // 2, 1))))
        if not judge.finds_better():
            layer.layer.weight.copy_(weight)
    target = reconstruction(step.of(slice(-held)), generator) if repairs.rounding else None
    if repairs.scales:
        before = layer.weight_scale
        layer.weight_scale = choose_scale(layer, target)
        if not judge.finds_better():
            layer.weight_scale = before
    if target is not None:
        before, weight = layer.weight_scale, layer.layer.weight.clone()
        round_layer(layer, target, name=step.name, iterations=repairs.iterations)
        if not judge.finds_better():
            layer.layer.weight.copy_(weight)
            layer.weight_scale = before


@final
class _Judge:
    """Remembers the least error of a layer's output on held-out samples."""

    def __init__(self, step: LayerStep) -> None:
        self._step = step
        self._least = output_error(step).total

    def finds_better(self) -> bool:
        """Whether the layer as it is now is better than it ever was; it then is the best."""
        error = output_error(self._step).total
        if error >= self._least:
            return False
        self._least = error
        return True
