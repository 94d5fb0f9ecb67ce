"""From one backend's integers to another's, without training."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, fx, nn

from torchedge.errors import SchemeError
from torchedge.graph.copies import copied
from torchedge.graph.gates import close_gates
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import Inputs, input_batches
from torchedge.quantization.calibration import RangeRule
from torchedge.quantization.diagnostics.grids import grid_range
from torchedge.quantization.diagnostics.interpreter import (
    quantized_module,
    quantized_modules,
    tensors_in,
)
from torchedge.quantization.diagnostics.sqnr import Power
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.names import rule_of, scheme_of
from torchedge.quantization.operations import kind_of, operands
from torchedge.quantization.origin import hand_on_float_network
from torchedge.quantization.range_rules import mse
from torchedge.quantization.ranges import calibrate
from torchedge.quantization.transform import prepare_qat
from torchedge.scheme import QuantScheme

__all__ = ["Requantized", "dequantized", "requantize"]

_Range = tuple[Tensor, Tensor]


@final
@dataclass(frozen=True, kw_only=True)
class Requantized:
    """A network on another backend's integers, compared with the one it came from.

    Args:
        model: As ``prepare_qat`` makes it, with ranges.
        sqnr_db: Of its outputs against those of the model it came from.
        float_sqnr_db: Of its outputs against the float network's.
        agreement: Share of samples with the same largest score in the first output; ``None`` where
            that is not one row of scores for each sample.
        transferred: Quantisers whose range came from the same tensor of the old model.
        calibrated: Quantisers whose range was chosen from the batches.
    """

    model: nn.Module
    sqnr_db: float
    float_sqnr_db: float
    agreement: float | None
    transferred: tuple[str, ...]
    calibrated: tuple[str, ...]


@kinds_checked()
def dequantized(model: nn.Module) -> nn.Module:
    """The float network behind a prepared model: layers under their names, batch norms unfolded.

    Weights are the float ones that training moved, not their integers. A batch norm that had been
    folded into the layer ``conv`` follows it as ``conv_batchnorm``; ``prepare_qat`` folds it again.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 1, 8, 8),))
        >>> [name for name, _ in dequantized(prepared).named_children()]
        ['0', '0_batchnorm', '2']
    """
    if not isinstance(model, fx.GraphModule) or not quantized_modules(model):
        raise SchemeError("there is nothing to undo: the model does not come from prepare_qat.")
    made = copied(model)
    for node in list(made.graph.nodes):
        module = quantized_module(node, made)
        if isinstance(module, FakeQuantize):
            node.replace_all_uses_with(operands(node)[0])
            made.graph.erase_node(node)
        elif isinstance(module, QuantizedLayer):
            _unfold(node, made, module)
    close_gates(made)
    made.graph.lint()
    # Built anew, it holds only the modules that the graph still uses.
    return fx.GraphModule(made, made.graph, class_name=type(model).__name__).train(model.training)


def _unfold(node: fx.Node, model: fx.GraphModule, quantized: QuantizedLayer) -> None:
    """Put the layer back at its place, and its batch norm behind it."""
    path = str(node.target)
    model.set_submodule(path, quantized.layer)
    if quantized.batchnorm is None:
        return
    model.add_submodule(f"{path}_batchnorm", quantized.batchnorm)
    with model.graph.inserting_after(node):
        norm = model.graph.call_module(f"{path}_batchnorm", (node,))
    node.replace_all_uses_with(norm, delete_user_cb=lambda user: user is not norm)


@torch.no_grad()
@kinds_checked("model", "scheme", "rule")
def requantize(
    model: nn.Module,
    scheme: QuantScheme | str,
    batches: object,
    *,
    rule: RangeRule | str = mse,
) -> Requantized:
    """The same trained weights on another backend's integers, without training.

    The float weights go onto the new grids. A tensor that the old scheme quantised keeps its range,
    also behind a pool or reshape; the others get theirs from the batches. Scales that were learned
    or chosen for the old weights are dropped, learned ranges of activations are kept.

    Args:
        model: A calibrated or trained model from ``prepare_qat``; it is left as it is.
        scheme: The numbers of the other backend, or the name of a target.
        batches: Inputs as the network sees them in use; kept in memory and run four times.
        rule: Chooses the ranges that the old model lacks.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``.
        CalibrationError: There is no batch.

    Example:
        >>> from torchedge import exporting
        >>> from torchedge.quantization import minmax
        >>> x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> jetson, cpu = (exporting.target(name).scheme for name in ("jetson", "onnx-cpu"))
        >>> model = calibrate(prepare_qat(net, jetson, (x,)), [x], minmax)
        >>> moved = requantize(model, cpu, [x])
        >>> moved.transferred, moved.calibrated
        (('quantizers.input_1', 'quantizers._1'), ('quantizers._2',))
    """
    scheme, rule = scheme_of(scheme), rule_of(rule)
    in_float = dequantized(model)
    kept = tuple(input_batches(model, batches))
    moved = prepare_qat(in_float, scheme, tuple(tensor[:1] for tensor in kept[0]))
    hand_on_float_network(model, moved)
    transferred = _transfer(_ranges(model), moved)
    missing = [name for name in _tensors_of_quantizers(moved) if name not in transferred]
    if missing:
        _calibrate_missing(moved, missing, kept, rule)
    sqnr_db, agreement = _compared(model, moved, kept)
    return Requantized(
        model=moved,
        sqnr_db=sqnr_db,
        float_sqnr_db=_compared(in_float, moved, kept)[0],
        agreement=agreement,
        transferred=tuple(transferred),
        calibrated=tuple(missing),
    )


def _tensors_of_quantizers(model: nn.Module) -> dict[str, list[fx.Node]]:
    """The tensors that each quantiser stands behind; one without choice is left out."""
    assert isinstance(model, fx.GraphModule)
    tensors: dict[str, list[fx.Node]] = {}
    for node in model.graph.nodes:
        module = quantized_module(node, model)
        if isinstance(module, FakeQuantize) and not module.fixed:
            tensors.setdefault(str(node.target), []).append(operands(node)[0])
    return tensors


def _quantizer(model: nn.Module, name: str) -> FakeQuantize:
    module = model.get_submodule(name)
    assert isinstance(module, FakeQuantize)
    return module


def _ranges(model: nn.Module) -> dict[str, _Range]:
    """Range by tensor; that of a learned scale is what its grid covers."""
    ranges: dict[str, _Range] = {}
    for name, tensors in _tensors_of_quantizers(model).items():
        quantizer = _quantizer(model, name)
        if not quantizer.calibrated:
            continue
        learned = quantizer.log_scale_change is not None
        of_grid = grid_range(*quantizer.params(), quantizer.spec)
        names = [tensor.name for tensor in tensors]
        ranges |= dict.fromkeys(names, of_grid if learned else (quantizer.low, quantizer.high))
    return ranges


def _transfer(ranges: dict[str, _Range], moved: nn.Module) -> list[str]:
    """Set each range whose tensors all had one, and return the quantisers' names."""
    transferred = []
    for name, tensors in _tensors_of_quantizers(moved).items():
        found = [_known_range(tensor, moved, ranges) for tensor in tensors]
        known = [ends for ends in found if ends is not None]
        if len(known) == len(tensors):
            lows, highs = zip(*known, strict=True)
            _quantizer(moved, name).set_range(torch.stack(lows).amin(), torch.stack(highs).amax())
            transferred.append(name)
    return transferred


def _known_range(tensor: fx.Node, moved: nn.Module, ranges: dict[str, _Range]) -> _Range | None:
    """Of the tensor, or of the one whose values it hands on."""
    assert isinstance(moved, fx.GraphModule)
    while tensor.name not in ranges:
        if kind_of(tensor, moved) != "same_values":
            return None
        tensor = operands(tensor)[0]
    return ranges[tensor.name]


def _calibrate_missing(
    moved: nn.Module, missing: list[str], batches: tuple[Inputs, ...], rule: RangeRule
) -> None:
    chosen = calibrate(moved, batches, rule)
    for name in missing:
        source = _quantizer(chosen, name)
        _quantizer(moved, name).set_range(source.low, source.high)


def _compared(
    reference: nn.Module, moved: nn.Module, batches: tuple[Inputs, ...]
) -> tuple[float, float | None]:
    """SQNR of all outputs, and share of equal answers."""
    reference, moved = copied(reference).eval(), copied(moved).eval()
    power, same, samples = Power(), 0, 0
    for batch in batches:
        expected, found = tensors_in(reference(*batch)), tensors_in(moved(*batch))
        for pair in zip(expected, found, strict=True):
            power = power.plus(*pair)
        if expected and expected[0].ndim == 2 and expected[0].shape[1] > 1:
            same += int((expected[0].argmax(1) == found[0].argmax(1)).sum())
            samples += len(batch[0])
    return power.sqnr_db, same / samples if samples else None
