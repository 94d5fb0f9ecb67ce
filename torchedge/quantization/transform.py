"""Changes of structure: a float model in, a new model with fake quantisation out."""

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, fx, nn

from torchedge.errors import CalibrationError, SchemeError
from torchedge.quantization.calibration import Histogram, RangeRule, entropy, observe
from torchedge.quantization.graph import (
    Kind,
    input_scale_source,
    kind_of,
    require_finite_weights,
    trace,
)
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.placement import quantized_reads
from torchedge.scheme import QuantScheme, QuantSpec

__all__ = ["OperationSummary", "calibrate", "describe", "prepare_qat"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def prepare_qat(
    model: nn.Module, scheme: QuantScheme, example_inputs: tuple[Tensor, ...]
) -> nn.Module:
    """A copy of ``model`` that computes with the integers of ``scheme``.

    Weighted layers become :class:`QuantizedLayer` with the batch norm after them folded in;
    activations get a :class:`FakeQuantize` where the scheme places one. What the scheme cannot put
    on integers stays float and is listed by :func:`describe`. Do this before the optimiser is made.

    Args:
        model: A trained or fresh float network that torch.fx can follow.
        scheme: Numbers of the device, usually ``target.scheme``.
        example_inputs: One valid set of inputs; the result is run on it once.

    Raises:
        TraceError: torch.fx cannot follow the model.
        WeightError: A weight is NaN or infinite.
        SchemeError: The model has fake quantisation already.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 1, 8, 8),))
        >>> [name for name, m in prepared.named_modules() if isinstance(m, FakeQuantize)]
        ['quantizers.input_1', 'quantizers._2']
    """
    if any(isinstance(module, FakeQuantize | QuantizedLayer) for module in model.modules()):
        raise SchemeError("the model has fake quantisation already; prepare the float model.")
    require_finite_weights(model)
    graph_module = trace(copy.deepcopy(model))
    graph_module.train(model.training)
    _quantize_layers(graph_module, scheme.weight)
    _insert_quantizers(graph_module, scheme)
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    _run_once(graph_module, example_inputs)
    return graph_module


def _quantize_layers(graph_module: fx.GraphModule, spec: QuantSpec) -> None:
    calls = Counter(node.target for node in graph_module.graph.nodes if node.op == "call_module")
    folded = []
    for node in list(graph_module.graph.nodes):
        if kind_of(node, graph_module) not in {"conv", "linear"}:
            continue
        layer = graph_module.get_submodule(str(node.target))
        if isinstance(layer, QuantizedLayer):
            continue  # called a second time; one set of weights
        norm_node = _foldable_batchnorm(node, graph_module, calls)
        norm = graph_module.get_submodule(str(norm_node.target)) if norm_node else None
        assert norm is None or isinstance(norm, _BATCH_NORMS)
        quantized = QuantizedLayer(layer, spec, norm)  # type: ignore[arg-type]
        graph_module.set_submodule(str(node.target), quantized.train(layer.training))
        if norm_node is not None:
            norm_node.replace_all_uses_with(node)
            graph_module.graph.erase_node(norm_node)
            folded.append(str(norm_node.target))
    for name in folded:  # now under the layer; the first place would count it twice in a checkpoint
        graph_module.delete_submodule(name)


def _foldable_batchnorm(
    node: fx.Node, graph_module: fx.GraphModule, calls: Counter[object]
) -> fx.Node | None:
    """The batch norm right after a layer, where both are used once and statistics are kept."""
    users = list(node.users)
    if len(users) != 1 or kind_of(users[0], graph_module) != "batch_norm":
        return None
    norm = graph_module.get_submodule(str(users[0].target))
    once = calls[node.target] == 1 and calls[users[0].target] == 1
    return users[0] if once and getattr(norm, "running_mean", None) is not None else None


def _insert_quantizers(graph_module: fx.GraphModule, scheme: QuantScheme) -> None:
    graph_module.add_module("quantizers", nn.Module())
    for tensor, readers in quantized_reads(graph_module, scheme.placement).items():
        name = f"quantizers.{tensor.name}"
        quantizer = FakeQuantize(scheme.activation).train(graph_module.training)
        graph_module.add_submodule(name, quantizer)
        with graph_module.graph.inserting_after(tensor):
            node = graph_module.graph.call_module(name, (tensor,))
        for reader in readers:
            reader.replace_input_with(tensor, node)


def _run_once(graph_module: fx.GraphModule, example_inputs: tuple[Tensor, ...]) -> None:
    training = graph_module.training
    with torch.no_grad():
        graph_module.eval()(*example_inputs)
    graph_module.train(training)


def calibrate(model: nn.Module, batches: Iterable[Tensor], rule: RangeRule = entropy) -> nn.Module:
    """A copy of ``model`` whose activation ranges were chosen from data.

    The activations of all batches, not yet rounded but computed with quantised weights, are counted
    in one histogram a quantiser, in constant memory; then ``rule`` chooses each range.

    Args:
        model: A model from :func:`prepare_qat`.
        batches: Inputs as the network sees them in use, without augmentation.
        rule: ``minmax``, ``entropy``, or any function from histogram and spec to a range.

    Raises:
        CalibrationError: There is no batch, a value is NaN or infinite, or the model has no
            quantisers.

    Example:
        >>> net = prepare_qat(nn.Sequential(nn.Linear(2, 2)), QuantScheme(), (torch.zeros(1, 2),))
        >>> net = calibrate(net, [torch.tensor([[-1.0, 1.27]])])
        >>> round(float(net.quantizers.input_1.scale), 6)
        0.01
    """
    calibrated = copy.deepcopy(model)
    quantizers = {n: m for n, m in calibrated.named_modules() if isinstance(m, FakeQuantize)}
    if not quantizers:
        raise CalibrationError("the model has no quantisers; run prepare_qat(model, …) first.")
    histograms = _histograms(calibrated, quantizers, batches)
    for name, quantizer in quantizers.items():
        low, high = rule(histograms[name], quantizer.spec)
        quantizer.set_range(torch.tensor(low), torch.tensor(high))
    return calibrated


def _histograms(
    model: nn.Module, quantizers: dict[str, FakeQuantize], batches: Iterable[Tensor]
) -> dict[str, Histogram]:
    histograms: dict[str, Histogram] = {}

    def count(name: str, x: Tensor) -> None:
        try:
            histograms[name] = observe(histograms.get(name), x)
        except CalibrationError as error:
            raise CalibrationError(f"at '{name}': {error}") from error

    training = model.training
    model.eval()
    hooks = []
    for name, quantizer in quantizers.items():
        quantizer.enabled = False
        hooks.append(quantizer.register_forward_pre_hook(lambda _, x, name=name: count(name, x[0])))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for quantizer, hook in zip(quantizers.values(), hooks, strict=True):
        hook.remove()
        quantizer.enabled = True
    model.train(training)
    if len(histograms) < len(quantizers):
        raise CalibrationError(
            "the calibration set is empty; give at least one batch, and some 100 to 500 samples."
        )
    return histograms


@final
@dataclass(frozen=True, kw_only=True)
class OperationSummary:
    """One operation of a prepared model.

    Args:
        name: Node of the graph.
        kind: What it does; ``unknown`` operations stay in float.
        weight_bits: Width of its integer weights, or ``None``.
        integer_input: Whether its first input is on an integer grid.
    """

    name: str
    kind: Kind
    weight_bits: int | None
    integer_input: bool


def describe(model: nn.Module) -> tuple[OperationSummary, ...]:
    """What each operation of a prepared model computes with, so that nothing is float unnoticed.

    Raises:
        SchemeError: The model does not come from :func:`prepare_qat`.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus())
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 1, 8, 8),))
        >>> [(row.name, row.kind, row.weight_bits) for row in describe(prepared)]
        [('_0', 'conv', 8), ('_1', 'unknown', None)]
    """
    if not isinstance(model, fx.GraphModule):
        raise SchemeError("describe() reads models made by prepare_qat; prepare the model first.")
    rows = []
    for node in model.graph.nodes:
        kind = kind_of(node, model)
        if kind in {"input", "output", "quantizer"}:
            continue
        module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        bits = module.spec.bits if isinstance(module, QuantizedLayer) else None
        integer = input_scale_source(node, model) is not None
        rows.append(
            OperationSummary(name=node.name, kind=kind, weight_bits=bits, integer_input=integer)
        )
    return tuple(rows)
