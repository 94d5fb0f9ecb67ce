"""Quantising until a network has lost no more than is allowed, with the cheapest means first."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from torchedge.api.samples import Samples
from torchedge.bench.parity import compare_answers, top1_accuracy
from torchedge.bench.session import Array
from torchedge.errors import DistillationError, VerificationError
from torchedge.quantization.bit_widths import FLOAT_BITS
from torchedge.quantization.diagnostics.mixed_precision import BitBudget, choose_bits
from torchedge.quantization.diagnostics.sensitivity import LayerSensitivity, sensitivity
from torchedge.quantization.recovery.quantize import Effort, quantize
from torchedge.scheme import QuantScheme

__all__ = ["Attempt", "accuracy_drop", "quantized_within"]

_EFFORTS: tuple[Effort, ...] = ("fast", "balanced", "best")
_FLOAT_SHARES = (0.02, 0.05, 0.1, 0.2)  # of the multiply-accumulates
_INTEGER_BITS = 8
_DISTILLED_BATCH_SIZE = 32
_DISTILLED_EPOCHS, _LONGEST_MINUTES = 20, 3


@final
@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A quantised network, and what it lost.

    Args:
        model: From :func:`torchedge.quantize`, perhaps trained on.
        taken: How it was made, in words.
        drop: See :func:`accuracy_drop`.
    """

    model: nn.Module
    taken: str
    drop: float


def accuracy_drop(
    found: Sequence[Array], wanted: Sequence[Array], labels: Tensor | None = None
) -> float:
    """What quantisation cost, from 0 for nothing.

    With labels, the float network's top-1 accuracy less the quantised one's. Without, the share of
    samples whose largest score is another one. For outputs that are no scores, the largest
    root-mean-square difference of an output by the root mean square of the output.

    Args:
        found: The quantised network's outputs, samples along the first axis.
        wanted: The float network's.
        labels: Class indices.

    Example:
        >>> import numpy as np
        >>> scores = np.eye(4)
        >>> accuracy_drop([scores[[0, 1, 2, 0]]], [scores])
        0.25
        >>> accuracy_drop([scores[[0, 1, 2, 0]]], [scores], torch.tensor([0, 1, 2, 0]))
        -0.25
    """
    if labels is not None:
        accuracies = [top1_accuracy(scores[0], labels.numpy()) for scores in (wanted, found)]
        return accuracies[0] - accuracies[1]
    parity = compare_answers(found, wanted)
    if parity.top1_agreement is not None:
        return 1 - parity.top1_agreement
    decibels = [o.sqnr_db for o in parity.outputs if o.sqnr_db is not None]
    return max((10 ** (-value / 20) for value in decibels), default=0.0)


def quantized_within(
    model: nn.Module,
    scheme: QuantScheme,
    calibration: Samples,
    check: Samples,
    max_drop: float,
    progress: Callable[[str], None],
) -> Attempt:
    """Try one means after the other until the drop on samples that were not used is small enough.

    Args:
        model: The float network.
        scheme: Of the device.
        calibration: What is quantised with.
        check: What is judged on.
        max_drop: See :func:`accuracy_drop`.
        progress: Told of every attempt.

    Raises:
        VerificationError: None was near enough; the text names the nearest.
    """
    wanted = check.answers(model)
    best: Attempt | None = None
    for taken, quantized in _attempts(model, scheme, calibration):
        drop = accuracy_drop(check.answers(quantized), wanted, check.labels)
        progress(f"{taken}: drop {drop:.2%}")
        if best is None or drop < best.drop:
            best = Attempt(model=quantized, taken=taken, drop=drop)
        if drop <= max_drop:
            return Attempt(model=quantized, taken=taken, drop=drop)
    assert best is not None
    raise VerificationError(
        f"no attempt kept the drop within {max_drop:.2%} on {len(check.inputs[0]):,} samples; the "
        f"nearest was {best.taken}, with {best.drop:.2%}. Give more data, allow more, or train "
        "with prepare_qat and QuantizationAwareTraining."
    )


def _attempts(
    model: nn.Module, scheme: QuantScheme, calibration: Samples
) -> Iterator[tuple[str, nn.Module]]:
    quantized = model
    for effort in _EFFORTS:
        quantized = quantize(model, scheme, calibration.batches, effort=effort)
        yield f"effort '{effort}'", quantized
    for share, layers in _float_layers(quantized, calibration):
        quantized = quantize(model, scheme, calibration.batches, effort="best", float_layers=layers)
        where = f"{_listed(layers)} in float (within {share:.0%} of the MACs)"
        yield f"effort 'best' with {where}", quantized
    trained = _distilled(quantized, model, calibration)
    if trained is not None:
        yield "self-distillation after that", trained


def _listed(layers: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more layers"


def _float_layers(
    quantized: nn.Module, calibration: Samples
) -> Iterator[tuple[float, tuple[str, ...]]]:
    """The layers that lose the most, within a growing share of the multiply-accumulates."""
    rows = sensitivity(quantized, calibration.batches[:2], bits=(_INTEGER_BITS, FLOAT_BITS))
    macs = sum(row.macs for row in rows if row.bits == FLOAT_BITS)
    before: tuple[str, ...] = ()
    for share in _FLOAT_SHARES:
        layers = _chosen(rows, share * macs)
        if layers and layers != before:
            yield share, layers
        before = layers


def _chosen(rows: Sequence[LayerSensitivity], float_macs: float) -> tuple[str, ...]:
    bits = choose_bits(rows, BitBudget(float_macs=float_macs))
    return tuple(name for name, width in bits.items() if width == FLOAT_BITS)


def _distilled(quantized: nn.Module, teacher: nn.Module, calibration: Samples) -> nn.Module | None:
    """A few minutes of training against the float answers; ``None`` where that is not possible."""
    import pytorch_lightning as pl
    from lightning_fabric.utilities.warnings import PossibleUserWarning
    from torch.utils.data import DataLoader, TensorDataset

    from torchedge.distillation.quantized import self_distillation
    from torchedge.graph.copies import copied

    student = copied(quantized)
    trainer = pl.Trainer(
        max_epochs=_DISTILLED_EPOCHS,
        max_time={"minutes": _LONGEST_MINUTES},
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(
        TensorDataset(*calibration.inputs),
        batch_size=_DISTILLED_BATCH_SIZE,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)  # no validation, few workers
            warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning")
            trainer.fit(self_distillation(student, teacher), loader)
    except DistillationError:
        return None  # its outputs are no scores
    return student
