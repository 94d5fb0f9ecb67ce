"""Batch-norm statistics of the network as it computes now, with integers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from torchedge.errors import CalibrationError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import input_batches
from torchedge.quantization.modules import BatchNorm, QuantizedLayer

__all__ = ["reestimate_batchnorm"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_Note: TypeAlias = Callable[[nn.Module, tuple[Tensor, ...]], None]
_Statistics: TypeAlias = dict[BatchNorm, list[tuple[Tensor, Tensor]]]


@torch.no_grad()
@kinds_checked()
def reestimate_batchnorm(model: nn.Module, batches: object) -> nn.Module:
    """A copy of ``model`` whose batch norms hold the statistics of these batches.

    Mean and unbiased variance are averaged over batches, as PyTorch does with ``momentum=None``.
    Every batch is normalised by its own statistics, as in training; everything else, ranges and
    dropout included, is as in evaluation. Weight grids stay those of the old statistics until all
    batches are through.

    Args:
        model: A network with batch norms, prepared or not.
        batches: Inputs as the network sees them in use, each of some 32 samples or more.

    Raises:
        CalibrationError: There is no batch, or no batch norm with statistics is left in the model.

    Example:
        >>> x = torch.tensor([[0.0], [4.0]])
        >>> float(reestimate_batchnorm(nn.Sequential(nn.BatchNorm1d(1)), [x])[0].running_mean)
        2.0
    """
    updated = copied(model).eval()
    norms = [
        m for m in updated.modules() if isinstance(m, _BATCH_NORMS) and m.running_mean is not None
    ]
    if not norms:
        raise CalibrationError(
            "the model has no batch norm with statistics; they may have been merged already, "
            "and then correct_biases(model, …) is what is left to do."
        )
    statistics: _Statistics = {norm: [] for norm in norms}
    with _normalising_by_batch(updated, norms, statistics):
        for batch in input_batches(updated, batches):
            updated(*batch)
    for norm, seen in statistics.items():
        if seen:  # an unused norm has nothing to learn
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(torch.stack([mean for mean, _ in seen]).mean(0))
            norm.running_var.copy_(torch.stack([variance for _, variance in seen]).mean(0))
    return updated.train(model.training)


@contextmanager
def _normalising_by_batch(
    model: nn.Module, norms: list[BatchNorm], statistics: _Statistics
) -> Iterator[None]:
    layers = [
        m for m in model.modules() if isinstance(m, QuantizedLayer) and m.batchnorm is not None
    ]
    frozen = {layer: layer.batchnorm_frozen for layer in layers}
    momenta = {norm: norm.momentum for norm in norms}
    for layer in layers:
        layer.training, layer.batchnorm_frozen = True, False
    for norm in norms:
        norm.training, norm.momentum = True, 0.0
    hooks = [norm.register_forward_pre_hook(_noting(statistics[norm])) for norm in norms]
    yield
    for hook in hooks:
        hook.remove()
    for layer, was_frozen in frozen.items():
        layer.batchnorm_frozen = was_frozen
    for norm, momentum in momenta.items():
        norm.momentum = momentum


def _noting(seen: list[tuple[Tensor, Tensor]]) -> _Note:
    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].movedim(1, 0).flatten(1)
        seen.append((values.mean(1), values.var(1)))

    return note
