"""Why an operation of a prepared model computes on floats."""

from torch import fx, nn

from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.operations import Kind, kind_of, operands
from torchedge.quantization.origin import origin_of
from torchedge.quantization.scale_source import scale_source
from torchedge.scheme import Placement

__all__ = ["float_reason"]

_MOVES: frozenset[Kind] = frozenset(
    {"input", "output", "quantizer", "same_values", "select", "shape"}
)
_WEIGHTED: frozenset[Kind] = frozenset({"conv", "linear"})


def float_reason(node: fx.Node, model: fx.GraphModule) -> str:
    """Why a node computes on floats, in words; empty where it computes on integers.

    What only moves values, and sizes, compute nothing, so there is nothing to say of them.

    Args:
        node: Of the model's graph.
        model: From ``prepare_qat``.
    """
    kind = kind_of(node, model)
    if kind in _MOVES:
        return ""
    if kind == "float":
        return f"no integer form of {_operation(node, model)} is known here"
    if kind == "normalisation":
        return "it normalises by statistics of what it reads, which has no integer form here"
    if kind in _WEIGHTED:
        return _of_layer(node, model)
    if kind == "activation":
        return _of_activation(node, model)
    placement = _placement(model)
    if placement is None or kind in _computed(placement):
        return _of_operands(node, model, placement)
    if kind == "batch_norm":
        return _of_batch_norm(node, model)
    return f"the scheme leaves {_operation(node, model)} in float"


def _computed(placement: Placement) -> frozenset[str]:
    """Kinds of operation that a backend has on integers."""
    fused = frozenset({"add"}) if placement.fused_add else frozenset()
    return placement.inputs_of | placement.outputs_of | fused


def _of_layer(node: fx.Node, model: fx.GraphModule) -> str:
    layer = model.get_submodule(str(node.target))
    if not isinstance(layer, QuantizedLayer):
        return "prepare_qat has not seen it"
    if layer.excluded:
        return "it was left in float, by float_layers or with_bits"
    if not layer.enabled:
        return "its quantisation is switched off"
    return _of_operands(node, model, None)


def _of_activation(node: fx.Node, model: fx.GraphModule) -> str:
    """What clips runs inside of the operation before it, or on the integers that it reads."""
    before = operands(node)[0]
    if scale_source(before, model) is not None:
        return ""
    if kind_of(before, model) in _MOVES:
        return f"it reads '{before.name}', which is not on an integer grid"
    why = float_reason(before, model)
    return f"it is part of '{before.name}', which is in float" if why else ""


def _of_operands(node: fx.Node, model: fx.GraphModule, placement: Placement | None) -> str:
    every = operands(node)
    read = every if kind_of(node, model) not in _WEIGHTED else every[:1]
    floats = [operand for operand in read if scale_source(operand, model) is None]
    fused = placement is not None and placement.fused_add and kind_of(node, model) == "add"
    if fused and len(floats) == 1 and len(every) == 2 and _is_integer_layer(floats[0], model):
        return ""  # it runs inside of that layer
    if not floats:
        return ""
    return f"it reads '{floats[0].name}', which is not on an integer grid{_why(floats[0], model)}"


def _why(operand: fx.Node, model: fx.GraphModule) -> str:
    """Of a quantiser that was switched off for good, which stands for its tensor."""
    if operand.op != "call_module":
        return ""
    module = model.get_submodule(str(operand.target))
    kept = isinstance(module, FakeQuantize) and module.excluded
    return ": its quantiser was left out, by float_layers or with_bits" if kept else ""


def _is_integer_layer(node: fx.Node, model: fx.GraphModule) -> bool:
    return kind_of(node, model) in _WEIGHTED and not float_reason(node, model)


def _of_batch_norm(node: fx.Node, model: fx.GraphModule) -> str:
    before = operands(node)[0]
    readers = len(before.users)
    if kind_of(before, model) == "quantizer":
        before = operands(before)[0]
    if kind_of(before, model) not in _WEIGHTED:
        what = _operation(before, model)
        return f"a batch norm is folded into the layer right before it, and here that is {what}"
    return (
        f"a batch norm is folded where it alone reads the layer before it ('{before.name}' has "
        f"{readers} readers), both are called once, and it keeps statistics"
    )


def _operation(node: fx.Node, model: fx.GraphModule) -> str:
    """What a node does, as the user wrote it."""
    if node.op == "call_module":
        module: nn.Module = model.get_submodule(str(node.target))
        return type(module.layer if isinstance(module, QuantizedLayer) else module).__name__
    if node.op == "placeholder":
        return "the input"
    return str(
        node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    )


def _placement(model: fx.GraphModule) -> Placement | None:
    origin = origin_of(model)
    return None if origin is None else origin.scheme.placement
