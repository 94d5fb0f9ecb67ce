"""Rewrites before quantisers are placed: what was written as a function call becomes a module.

The result computes what the model computed, so that placement sees one form of each operation.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from torchedge.graph.attention import SelfAttention
from torchedge.graph.computed import ComputedWeight, computed_weight, parametrize_with
from torchedge.graph.editing import arguments_of, call_instead, free_path
from torchedge.graph.transformer import Encoder, EncoderLayer

__all__ = [
    "layers_for_functions",
    "open_attention",
    "pads_for_padding_modes",
]

_CONVOLUTIONS: dict[Callable[..., Any], type[nn.Module]] = {
    F.conv1d: nn.Conv1d,
    F.conv2d: nn.Conv2d,
    F.conv3d: nn.Conv3d,
    F.conv_transpose1d: nn.ConvTranspose1d,
    F.conv_transpose2d: nn.ConvTranspose2d,
    F.conv_transpose3d: nn.ConvTranspose3d,
}
_CONV_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED_NAMES = (*_CONV_NAMES[:5], "output_padding", "groups", "dilation")
_PADDING = (nn.Conv1d, nn.Conv2d, nn.Conv3d)  # transposed ones only know zeros


def open_attention(model: nn.Module) -> None:
    """Exchange, in place, attention and transformer encoders for linear layers around attention."""
    for path, module in list(model.named_modules()):
        opened = _opened(module) if path else None
        if opened is not None and not _is_inside_of_reader(path, model):
            model.set_submodule(path, opened)


def _opened(module: nn.Module) -> nn.Module | None:
    if type(module) is nn.MultiheadAttention and SelfAttention.can_stand_for(module):
        return SelfAttention.of(module)
    if type(module) is nn.TransformerEncoderLayer:
        return EncoderLayer(module) if SelfAttention.can_stand_for(module.self_attn) else None
    return Encoder(module) if type(module) is nn.TransformerEncoder else None


def _is_inside_of_reader(path: str, model: nn.Module) -> bool:
    """Whether the module that holds it reads the parameters of the attention in it."""
    holder = model.get_submodule(path.rpartition(".")[0])
    return isinstance(holder, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer)


def layers_for_functions(graph_module: fx.GraphModule) -> None:
    """Exchange, in place, ``F.conv2d(x, self.weight, …)`` and the like for layers.

    A layer shares the parameter it was called with and is named after the module that holds it. A
    weight that is computed from parameters, such as a standardised one (Qiao et al. 2019), is
    computed by the layer whenever it is read.
    """
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        layer = _layer_of(node, graph_module)
        if layer is not None:
            path = _free_path(node, graph_module)
            graph_module.add_submodule(path, layer.train(graph_module.training))
            call_instead(node, path, graph_module)
    graph_module.graph.eliminate_dead_code()


def pads_for_padding_modes(graph_module: fx.GraphModule) -> None:
    """Write, in place, the mirrored or repeated borders of convolutions as pads before them.

    A runtime's convolution only pads with zeros: the border would lie between the quantiser and the
    convolution, which then reads floats.
    """
    padding = {
        name: module
        for name, module in graph_module.named_modules()
        if isinstance(module, _PADDING) and module.padding_mode != "zeros"
    }
    for node in list(graph_module.graph.nodes):
        layer = padding.get(str(node.target)) if node.op == "call_module" else None
        if layer is not None:
            source = node.all_input_nodes[0]
            widths = tuple(layer._reversed_padding_repeated_twice)
            with graph_module.graph.inserting_before(node):
                pad = graph_module.graph.call_function(F.pad, (source, widths, layer.padding_mode))
            node.replace_input_with(source, pad)
    for layer in padding.values():
        layer.padding, layer.padding_mode = (0,) * len(layer.kernel_size), "zeros"


def _layer_of(node: fx.Node, graph_module: fx.GraphModule) -> nn.Module | None:
    if node.target in _CONVOLUTIONS:
        return _convolution(node, graph_module)
    if node.target is F.linear:
        return _linear(node, graph_module)
    return None


def _parameter(value: object, graph_module: fx.GraphModule) -> Tensor | ComputedWeight | None:
    """What a layer is given: a tensor that is stored, or one that is computed from such."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return computed_weight(value, graph_module)
    path, _, name = str(value.target).rpartition(".")
    found = getattr(graph_module.get_submodule(path), name, None)
    return found if isinstance(found, Tensor) else None


def _shape(given: Tensor | ComputedWeight) -> tuple[int, ...]:
    return tuple((given if isinstance(given, Tensor) else given.value).shape)


def _with_parameters(
    layer: nn.Module, weight: Tensor | ComputedWeight, bias: Tensor | ComputedWeight | None
) -> nn.Module:
    for name, given in (("weight", weight), ("bias", bias)):
        if isinstance(given, ComputedWeight):
            parametrize_with(layer, name, given)
        elif given is not None:
            setattr(layer, name, given if isinstance(given, nn.Parameter) else nn.Parameter(given))
    return layer


def _linear(node: fx.Node, graph_module: fx.GraphModule) -> nn.Module | None:
    arguments = arguments_of(node, ("input", "weight", "bias"))
    weight = _parameter(arguments["weight"], graph_module)
    bias = _parameter(arguments.get("bias"), graph_module)
    if weight is None or (bias is None and arguments.get("bias") is not None):
        return None
    outputs, inputs = _shape(weight)
    layer = nn.Linear(inputs, outputs, bias is not None, device="meta")
    return _with_parameters(layer, weight, bias)


def _convolution(node: fx.Node, graph_module: fx.GraphModule) -> nn.Module | None:
    kind = _CONVOLUTIONS[node.target]  # type: ignore[index]
    transposed = "output_padding" in inspect.signature(kind).parameters
    arguments = arguments_of(node, _TRANSPOSED_NAMES if transposed else _CONV_NAMES)
    weight = _parameter(arguments.pop("weight"), graph_module)
    bias_node = arguments.pop("bias", None)
    bias = _parameter(bias_node, graph_module)
    if weight is None or (bias is None and bias_node is not None):
        return None
    del arguments["input"]
    first, second, *kernel = _shape(weight)
    ends = (first, second * arguments.get("groups", 1))
    sizes = ends if transposed else ends[::-1]
    layer = kind(*sizes, tuple(kernel), bias=bias is not None, device="meta", **arguments)
    return _with_parameters(layer, weight, bias)


def _free_path(node: fx.Node, graph_module: fx.GraphModule) -> str:
    """In the module whose parameter is read, or beside it where that is a layer of its own."""
    weight = arguments_of(node, ("input", "weight")).get("weight")
    owner = _owner(weight) if isinstance(weight, fx.Node) else ""
    called = {str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"}
    if not owner:
        return free_path(f"functional_{node.name}", graph_module)
    return free_path(f"{owner}{'_' if owner in called else '.'}functional", graph_module)


def _owner(weight: fx.Node) -> str:
    """The module whose parameter is read, the first one where several are."""
    while weight.op != "get_attr":
        weight = weight.all_input_nodes[0]
    return str(weight.target).rpartition(".")[0]
