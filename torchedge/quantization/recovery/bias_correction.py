"""Biases moved so that quantised layers have the mean outputs of the float network."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from torchedge.quantization.merge import merge_batchnorms
from torchedge.quantization.modules import apply_layer
from torchedge.quantization.recovery.lockstep import LayerStep, in_float, layer_steps, tensors_of

__all__ = ["correct_biases", "correct_step"]


def correct_biases(
    model: nn.Module, batches: Iterable[Tensor], *, reference: nn.Module | None = None
) -> nn.Module:
    """A copy of ``model`` whose layers have, channel by channel, the float network's mean output.

    ``b' = b + E[y_float] - E[y_quantised]``, layer by layer in execution order, the quantised
    output computed from the inputs that the layers corrected before it produce (Nagel et al. 2019,
    section 4.2, with data). Batch norms are merged into the layers first.

    Args:
        model: A calibrated model from ``prepare_qat``.
        batches: Inputs as the network sees them in use.
        reference: The float network, as a prepared model of the same graph; by default ``model``
            with its quantisers off.

    Raises:
        CalibrationError: There is no batch.
        SchemeError: A model does not come from ``prepare_qat``, or the graphs differ.

    Example:
        >>> from torchedge.quantization import QuantScheme, calibrate, minmax, prepare_qat
        >>> x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> net = nn.Sequential(nn.Linear(3, 2))
        >>> model = calibrate(prepare_qat(net, QuantScheme(), (x,)), [x], minmax)
        >>> error = correct_biases(model, [x])(x) - net(x)
        >>> bool(error.mean(0).abs().max() < 0.002)
        True
    """
    corrected = merge_batchnorms(copy.deepcopy(model).eval())
    baseline = in_float(model if reference is None else reference)
    for step in layer_steps(corrected, baseline, tensors_of(batches)):
        correct_step(step)
    return corrected.train(model.training)


@torch.no_grad()
def correct_step(step: LayerStep) -> None:
    """Move, in place, the bias of the layer that the walk has reached."""
    layer = step.layer.layer
    assert layer.bias is not None
    weight = step.layer.on_grid(layer.weight)
    shifts = torch.zeros_like(layer.bias)
    for x, target in zip(step.inputs, step.targets, strict=True):
        error = target - apply_layer(layer, x, weight, layer.bias)
        channel = -1 if isinstance(layer, nn.Linear) else 1
        shifts += error.movedim(channel, -1).flatten(0, -2).sum(0)
    values = sum(target.numel() for target in step.targets) / len(shifts)
    layer.bias += shifts / values
