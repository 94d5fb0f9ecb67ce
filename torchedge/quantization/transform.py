"""Changes of structure: a float model in, a new model with fake quantisation out."""

from collections import Counter
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, fx, nn

from torchedge.batches.examples import Examples, example_tensors
from torchedge.errors import SchemeError, TraceError
from torchedge.graph.copies import copied_with_parametrizations
from torchedge.graph.editing import free_path
from torchedge.graph.faithful import (
    FaithfulGraph,
    faithful_graph,
    for_evaluation,
    require_same_function,
)
from torchedge.graph.folding import fold_channel_constants, keep_weights_that_are_read
from torchedge.graph.gates import close_gates, open_gates
from torchedge.graph.hooks import require_no_backward_hooks
from torchedge.graph.parts import way_out
from torchedge.graph.rewrites import (
    layers_for_functions,
    open_attention,
    pads_for_padding_modes,
)
from torchedge.graph.trace import axes_of_results, evaluating, trace
from torchedge.graph.values import is_number, result_of
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.quantization.freeze import FrozenFakeQuantize
from torchedge.quantization.modules import (
    TRANSPOSED,
    FakeQuantize,
    QuantizedLayer,
    without_quantization,
)
from torchedge.quantization.names import scheme_of
from torchedge.quantization.operations import kind_of
from torchedge.quantization.origin import with_origin
from torchedge.quantization.placement import FIXED_RANGES, quantized_reads, scale_groups
from torchedge.quantization.requirements import (
    require_float,
    require_known_layers,
    require_something_to_quantize,
    require_usable_weights,
)
from torchedge.scheme import QuantScheme, QuantSpec

__all__ = ["prepare_qat", "weight_spec"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@kinds_checked("model", "scheme", "example_inputs")
def prepare_qat(model: nn.Module, scheme: QuantScheme | str, example_inputs: Examples) -> nn.Module:
    """A copy of ``model`` that computes with the integers of ``scheme``.

    Weighted layers become :class:`QuantizedLayer` with the batch norm after them folded in;
    activations get a :class:`FakeQuantize` where the scheme places one. What the scheme cannot put
    on integers stays float and is listed by :func:`describe`. Do this before the optimiser is made.

    Args:
        model: A trained or fresh float network that torch.fx can follow.
        scheme: Numbers of the device, usually ``target.scheme``; or the name of a target.
        example_inputs: One valid set of inputs, or the tensor that is the only one; the result is
            run on it once.

    Raises:
        TraceError: torch.fx cannot follow the model.
        WeightError: A weight is NaN or infinite.
        SchemeError: The model has fake quantisation already.
        UnknownNameError: There is no target of that name.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 1, 8, 8),))
        >>> [name for name, m in prepared.named_modules() if isinstance(m, FakeQuantize)]
        ['quantizers.input_1', 'quantizers._2']
    """
    scheme, model = scheme_of(scheme), unwrapped(model)
    example_inputs = example_tensors(model, example_inputs)
    quantized = FakeQuantize | QuantizedLayer | FrozenFakeQuantize
    if any(isinstance(module, quantized) for module in model.modules()):
        raise SchemeError("the model has fake quantisation already; prepare the float model.")
    require_float(model)
    require_usable_weights(model)
    require_no_backward_hooks(model)
    try:
        traced = _normalized_graph(model, example_inputs)
    except (TraceError, SchemeError) as error:
        raise type(error)(
            f"{error}{way_out(model, example_inputs, _require_preparable)}"
        ) from error
    graph_module = traced.graph_module
    open_gates(graph_module, scheme.placement.gated)
    _quantize_layers(graph_module, scheme, _foldable_batchnorms(graph_module, example_inputs))
    _insert_quantizers(graph_module, scheme)
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    _run_once(graph_module, example_inputs)
    require_same_function(traced, _in_float(graph_module))
    return with_origin(for_evaluation(graph_module, traced.evaluation_only), scheme, model)


def _in_float(graph_module: fx.GraphModule) -> nn.Module:
    """The float network, its activations whole: opened, they round otherwise by a last bit."""
    reference = without_quantization(graph_module)
    assert isinstance(reference, fx.GraphModule)
    close_gates(reference)
    reference.recompile()
    return reference


def _require_preparable(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    graph_module = trace(model, inputs)
    layers_for_functions(graph_module)
    require_known_layers(graph_module)
    require_something_to_quantize(graph_module)


def _normalized_graph(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> FaithfulGraph:
    opened = copied_with_parametrizations(model)
    open_attention(opened)
    traced = _traced(model, opened, example_inputs)
    graph_module = traced.graph_module
    layers_for_functions(graph_module)
    fold_channel_constants(graph_module)
    pads_for_padding_modes(graph_module)
    require_known_layers(graph_module)
    require_something_to_quantize(graph_module)
    # Built anew, it holds only the modules and parameters that the graph still uses.
    rebuilt = fx.GraphModule(graph_module, graph_module.graph, class_name=type(model).__name__)
    keep_weights_that_are_read(rebuilt)
    return replace(traced, graph_module=rebuilt)


def _traced(
    model: nn.Module, opened: nn.Module, example_inputs: tuple[Tensor, ...]
) -> FaithfulGraph:
    """With functions that were passed to ``torch.fx.wrap`` followed, too, where that is possible.

    Such a function may hold layers (the attention of torchvision's Swin transformers), which as one
    node would stay in float.
    """
    traced = partial(faithful_graph, model, opened, example_inputs)
    try:
        inside = traced(into_functions=True)
    except TraceError:
        return traced()
    if not inside.evaluation_only:
        return inside
    whole = traced()
    return inside if whole.evaluation_only else whole


def _quantize_layers(
    graph_module: fx.GraphModule, scheme: QuantScheme, norms: dict[fx.Node, fx.Node]
) -> None:
    folded = []
    for node in list(graph_module.graph.nodes):
        if kind_of(node, graph_module) not in {"conv", "linear"}:
            continue
        layer = graph_module.get_submodule(str(node.target))
        if isinstance(layer, QuantizedLayer):
            continue  # called a second time; one set of weights
        norm_node = norms.get(node)
        norm = graph_module.get_submodule(str(norm_node.target)) if norm_node else None
        assert norm is None or isinstance(norm, _BATCH_NORMS)
        quantized = QuantizedLayer(layer, weight_spec(layer, scheme), norm)  # type: ignore[arg-type]
        quantized.training = layer.training  # and not .train(): a batch norm has its own mode
        graph_module.set_submodule(str(node.target), quantized)
        if norm_node is not None:
            norm_node.replace_all_uses_with(node)
            graph_module.graph.erase_node(norm_node)
            folded.append(str(norm_node.target))
    for name in folded:  # now under the layer; the first place would count it twice in a checkpoint
        graph_module.delete_submodule(name)


def weight_spec(layer: nn.Module, scheme: QuantScheme) -> QuantSpec:
    """The grid that a scheme gives the weight of a layer.

    Raises:
        SchemeError: The weight has no such axis.
    """
    spec = _spec_for(layer, scheme)
    axes = layer.weight.ndim if isinstance(layer.weight, Tensor) else 0
    if spec.axis is not None and spec.axis >= axes:
        raise SchemeError(
            f"the scheme's weights have scales along axis {spec.axis}, and the weight of a "
            f"{type(layer).__name__} has {axes} axes; output channels are on axis 0."
        )
    return spec


def _spec_for(layer: nn.Module, scheme: QuantScheme) -> QuantSpec:
    if isinstance(layer, nn.Linear):
        return scheme.linear_weight or scheme.weight
    if isinstance(layer, TRANSPOSED) and scheme.weight.axis == 0:
        return replace(scheme.weight, axis=1)  # where a transposed convolution has its outputs
    return scheme.weight


def _foldable_batchnorms(
    graph_module: fx.GraphModule, example_inputs: tuple[Tensor, ...]
) -> dict[fx.Node, fx.Node]:
    """For each layer the batch norm to fold into it; that of a sequence is over another axis."""
    calls = Counter(node.target for node in graph_module.graph.nodes if node.op == "call_module")
    kinds = {node: kind_of(node, graph_module) for node in graph_module.graph.nodes}
    layers = [node for node, kind in kinds.items() if kind in {"conv", "linear"}]
    norms = {node: _batchnorm_after(node, graph_module, calls) for node in layers}
    found = {node: norm for node, norm in norms.items() if norm is not None}
    if any(kinds[node] == "linear" for node in found):
        axes = axes_of_results(graph_module, example_inputs)
        found = {n: norm for n, norm in found.items() if kinds[n] != "linear" or axes[n] == 2}
    return found


def _batchnorm_after(
    node: fx.Node, graph_module: fx.GraphModule, calls: Counter[object]
) -> fx.Node | None:
    """The batch norm right after a layer, where both are used once and statistics are kept."""
    users = list(node.users)
    if len(users) != 1 or kind_of(users[0], graph_module) != "batch_norm":
        return None
    norm = graph_module.get_submodule(str(users[0].target))
    once = calls[node.target] == 1 and calls[users[0].target] == 1
    return users[0] if once and getattr(norm, "running_mean", None) is not None else None


def _has_no_grid(node: fx.Node) -> bool:
    """Whether a result is a number of Python, or whole numbers such as indices and positions."""
    result = result_of(node)
    return is_number(node) or (result is not None and not result.dtype.is_floating_point)


def _insert_quantizers(graph_module: fx.GraphModule, scheme: QuantScheme) -> None:
    quantizers = free_path("quantizers", graph_module)
    graph_module.add_module(quantizers, nn.Module())
    reads = quantized_reads(graph_module, scheme.placement)
    for tensor, first in scale_groups(graph_module, reads, scheme.placement).items():
        if _has_no_grid(tensor):
            continue
        name = f"{quantizers}.{_attribute_name(first.name)}"
        if tensor is first:
            graph_module.add_submodule(name, _quantizer(tensor, graph_module, scheme))
        with graph_module.graph.inserting_after(tensor):
            node = graph_module.graph.call_module(name, (tensor,))
        for reader in reads[tensor]:
            reader.replace_input_with(tensor, node)


def _attribute_name(name: str) -> str:
    """The name of a node, but one of another thing that every module has, such as ``to``."""
    return f"{name}_" if hasattr(nn.Module, name) else name


def _quantizer(tensor: fx.Node, graph_module: fx.GraphModule, scheme: QuantScheme) -> FakeQuantize:
    kind = kind_of(tensor, graph_module)
    fixed = FIXED_RANGES.get(kind) if scheme.placement.fixed_outputs else None
    return FakeQuantize(scheme.activation, fixed=fixed).train(graph_module.training)


def _run_once(graph_module: fx.GraphModule, example_inputs: tuple[Tensor, ...]) -> None:
    with torch.no_grad(), evaluating(graph_module):
        graph_module(*example_inputs)
