"""Biases moved so that quantised layers have the mean outputs of the float network."""

import torch
from torch import nn

from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.modules import apply_layer
from torchedge.quantization.recovery.layerwise import LayerStep, in_float, kept_batches, layer_steps
from torchedge.quantization.recovery.patches import other_axes

__all__ = ["correct_biases", "correct_step"]


@kinds_checked()
def correct_biases(
    model: nn.Module, batches: object, *, reference: nn.Module | None = None
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
    corrected = fold_batchnorms(copied(model).eval())
    baseline = in_float(model if reference is None else reference)
    for step in layer_steps(corrected, baseline, kept_batches(corrected, batches)):
        correct_step(step)
    return corrected.train(model.training)


@torch.no_grad()
def correct_step(step: LayerStep, *, held: int = 0) -> None:
    """Move, in place, the bias of the layer that the walk has reached.

    Args:
        step: The layer.
        held: So many of its batches, the last ones, are held out: the bias is moved only where what
            the others ask for brings the mean outputs on these nearer to the reference's, too.
    """
    layer = step.layer.layer
    assert layer.bias is not None
    weight = step.layer.on_grid(layer.weight)
    results = [apply_layer(layer, x, weight, layer.bias) for x in step.inputs]
    others = other_axes(layer, results[0])
    pairs = zip(step.targets, results, strict=True)
    errors = torch.stack([target.sum(others) - result.sum(others) for target, result in pairs])
    values = torch.tensor([float(target.numel()) for target in step.targets]) / errors.shape[1]
    shifts = errors.sum(0) / values.sum()
    if held:
        asked = errors[:-held].sum(0) / values[:-held].sum()
        wrong = errors[-held:].sum(0) / values[-held:].sum()
        shifts *= float((wrong - asked).square().sum() < wrong.square().sum())
    layer.bias += shifts
    shape = [1 if axis in others else -1 for axis in range(results[0].ndim)]
    step.results[:] = [result.add_(shifts.view(shape)) for result in results]
