"""Quantisation, pruning and distillation by the names of ``import torchedge``."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from torch import nn

from torchedge.batches.examples import Examples
from torchedge.exporting.target import Target
from torchedge.pruning.masks import mask_weights
from torchedge.pruning.patterns import Pattern, weight_masks
from torchedge.pruning.prune import prune_to
from torchedge.quantization.diagnostics.analyse import Analysis
from torchedge.quantization.diagnostics.analyse import analyse as compare_with_float
from torchedge.quantization.histogram import RangeRule
from torchedge.quantization.names import scheme_of
from torchedge.quantization.ranges import calibrate as choose_ranges
from torchedge.quantization.recovery.quantize import Effort
from torchedge.quantization.recovery.quantize import quantize as quantize_for_scheme
from torchedge.quantization.summary import OperationSummary
from torchedge.quantization.summary import describe as describe_operations
from torchedge.quantization.transform import prepare_qat as prepare_for_scheme
from torchedge.scheme import QuantScheme

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from torchedge.distillation.lightning import DistillationModule
    from torchedge.distillation.modules import DistillationTerm

__all__ = [
    "analyse",
    "calibrate",
    "describe",
    "distill",
    "prepare_qat",
    "prune_channels",
    "prune_weights",
    "quantize",
]


def quantize(
    model: nn.Module,
    target: Target | QuantScheme | str,
    data: object,
    *,
    effort: Effort = "balanced",
    float_layers: Collection[str] = (),
) -> nn.Module:
    """Quantise a trained float network for a device, without training.

    Args:
        model: A trained float network that torch.fx can follow; it is not changed.
        target: Where it will run: a name, a target, or a scheme of its own.
        data: Inputs as the network sees them in use, some 50 to 500: a ``DataLoader`` (labels are
            left out), a tensor, a list, a folder of pictures or arrays.
        effort: ``fast`` chooses scales and corrects biases, ``balanced`` also equalises channels
            and rounds weights for their layer's output, ``best`` searches the roundings for longer.
        float_layers: Paths of layers that stay in float.

    Returns:
        A new network with fake quantisation, to be saved, exported, or trained on.

    Raises:
        CalibrationError: There is no data, or a batch cannot be used.
        TraceError: torch.fx cannot follow the model.
        UnknownNameError: There is no such target or layer.

    Example:
        >>> import torch, torchedge
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
        >>> quantized = torchedge.quantize(net, "onnx-cpu", torch.rand(64, 8), effort="fast")
        >>> [o.weight_bits for o in torchedge.describe(quantized) if o.weight_bits]
        [8, 8]
    """
    return quantize_for_scheme(
        model, scheme_of(target), data, effort=effort, float_layers=float_layers
    )


def prepare_qat(
    model: nn.Module, target: Target | QuantScheme | str, example_inputs: Examples
) -> nn.Module:
    """Insert a device's fake quantisation into a copy of a network, for training.

    Args:
        model: A trained or fresh float network that torch.fx can follow.
        target: Where it will run: a name, a target, or a scheme of its own.
        example_inputs: One valid set of inputs, or the tensor that is the only one.

    Returns:
        A new network whose ranges :func:`torchedge.calibrate` or training chooses.

    Raises:
        TraceError: torch.fx cannot follow the model.
        UnknownNameError: There is no target of that name.

    Example:
        >>> import torch, torchedge
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> prepared = torchedge.prepare_qat(net, "jetson", torch.zeros(1, 1, 8, 8))
        >>> [o.kind for o in torchedge.describe(prepared)][:1]
        ['conv']
    """
    return prepare_for_scheme(model, scheme_of(target), example_inputs)


def calibrate(model: nn.Module, data: object, rule: RangeRule | str = "mse") -> nn.Module:
    """Choose the ranges of every activation quantiser from data.

    Args:
        model: From :func:`torchedge.prepare_qat`; it is not changed.
        data: Inputs as the network sees them in use.
        rule: ``mse`` (least squared error), ``minmax``, ``entropy`` (least divergence) or
            ``percentile``; or a function of a histogram and a spec.

    Returns:
        A calibrated copy.

    Raises:
        CalibrationError: There is no data, or a batch cannot be used.
        UnknownNameError: There is no rule of that name.

    Example:
        >>> import torch, torchedge
        >>> net = nn.Sequential(nn.Linear(4, 2))
        >>> prepared = torchedge.prepare_qat(net, "onnx-cpu", torch.zeros(1, 4))
        >>> calibrated = torchedge.calibrate(prepared, torch.rand(32, 4), "minmax")
    """
    return choose_ranges(model, data, rule)


def prune_channels(model: nn.Module, example_inputs: Examples, *, macs: float = 0.5) -> nn.Module:
    """Remove whole channels until a share of the multiplications is left.

    Args:
        model: A float network; it is not changed.
        example_inputs: One valid set of inputs, or the tensor that is the only one.
        macs: Share of the multiply-accumulates that may remain, between 0 and 1.

    Returns:
        A smaller network of the same function's kind, to be trained again.

    Raises:
        PruningError: The share cannot be reached.
        TraceError: The network cannot be followed.

    Example:
        >>> import torch, torchedge
        >>> net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
        >>> torchedge.prune_channels(net, torch.zeros(1, 16), macs=0.5)[0].out_features
        32
    """
    return prune_to(model, example_inputs, macs=macs)


def prune_weights(
    model: nn.Module, sparsity: float, *, pattern: Pattern | None = None
) -> nn.Module:
    """Set the smallest weights to zero and keep them there.

    Args:
        model: Any network; it is not changed.
        sparsity: Share of the weights to remove, between 0 and 1; for a pattern of ``n`` in ``m``
            it must be ``1 - n / m``.
        pattern: Which weights may go together; single ones of all layers but the last at once, if
            left out.

    Returns:
        A copy with a mask on each weight, to be trained on.

    Raises:
        PruningError: A layer would be emptied.

    Example:
        >>> import torch, torchedge
        >>> net = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 2))
        >>> int((torchedge.prune_weights(net, 0.9)[0].weight != 0).sum())
        10
    """
    return mask_weights(model, weight_masks(model, sparsity, pattern=pattern))


def distill(
    task: "pl.LightningModule",
    teacher: nn.Module,
    terms: "Mapping[str, tuple[float, DistillationTerm]]",
    *,
    hard_weight: float = 1.0,
) -> "DistillationModule":
    """Let a task's network learn from a teacher beside its labels.

    Args:
        task: Any LightningModule with automatic optimisation whose network is ``model``.
        teacher: A trained network with the student's inputs.
        terms: By name, the weight of each term and the term: ``Hinton``, ``FitNet``, ``RKD``.
        hard_weight: Of the task's own loss.

    Returns:
        What ``Trainer.fit`` takes.

    Raises:
        DistillationError: A term or a weight does not fit.

    Example:
        >>> import torchedge
        >>> from torchedge.distillation import Hinton
        >>> from torchedge.models import Classifier
        >>> task, teacher = Classifier(nn.Linear(4, 3)), nn.Linear(4, 3)
        >>> module = torchedge.distill(task, teacher, {"hinton": (0.9, Hinton(4.0))})
        >>> module.hard_weight
        1.0
    """
    from torchedge.distillation.lightning import DistillationModule

    return DistillationModule(task, teacher, terms, hard_weight=hard_weight)


def describe(model: nn.Module) -> tuple[OperationSummary, ...]:
    """List every operation of a prepared network: its bits, or why it stays in float.

    Args:
        model: From :func:`torchedge.prepare_qat` or :func:`torchedge.quantize`.

    Raises:
        SchemeError: The network has no fake quantisation.

    Example:
        >>> import torch, torchedge
        >>> net = nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2))
        >>> prepared = torchedge.prepare_qat(net, "onnx-cpu", torch.zeros(1, 4))
        >>> [(o.name, o.weight_bits) for o in torchedge.describe(prepared)]
        [('_0', 8), ('_1', None)]
    """
    return describe_operations(model)


def analyse(model: nn.Module, data: object) -> Analysis:
    """Compare a prepared network with its own float form, tensor by tensor.

    Args:
        model: A calibrated network.
        data: Inputs as the network sees them in use.

    Returns:
        The signal-to-noise ratio, range and clipped share of every tensor; it prints as a table.

    Raises:
        CalibrationError: There is no data, or the network is not calibrated.

    Example:
        >>> import torch, torchedge
        >>> x = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
        >>> net = nn.Sequential(nn.Linear(4, 2)).eval()
        >>> _ = nn.init.constant_(net[0].weight, 0.5)
        >>> quantized = torchedge.quantize(net, "onnx-cpu", x, effort="fast")
        >>> torchedge.analyse(quantized, x).output_sqnr_db > 30
        True
    """
    return compare_with_float(model, data)
