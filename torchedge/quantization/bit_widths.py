"""Changing the width of prepared layers' weights, down to 2 bits or up to float."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral

from torch import fx, nn

from torchedge.arguments import require
from torchedge.errors import SchemeError, UnknownNameError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.operations import kind_of

__all__ = ["FLOAT_BITS", "set_weight_bits", "with_bits"]

FLOAT_BITS = 32


@kinds_checked()
def with_bits(model: nn.Module, bits: Mapping[str, int]) -> nn.Module:
    """A copy of a prepared model whose named layers have weights of another width.

    At 32 bits a layer stays in float, and so does an activation that only float layers read, unless
    a layer on integers writes it: its integers are what that layer computes. A weight scale that
    was chosen or learned for another width gives way to the min-max of each channel. Weights that
    were rounded stay rounded: leave layers in float before (``quantize`` takes their names).

    Args:
        model: A model from ``prepare_qat``.
        bits: Width by path of the layer; layers that are not named stay as they are.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``, or no integers have that width.
        UnknownNameError: The model has no quantised layer of that name.

    Example:
        >>> import torch
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = prepare_qat(nn.Sequential(nn.Linear(3, 2)), QuantScheme(), (torch.zeros(1, 3),))
        >>> with_bits(net, {"0": 4}).get_submodule("0").spec.bits
        4
    """
    if not isinstance(model, fx.GraphModule):
        raise SchemeError(
            "with_bits() changes models made by prepare_qat; prepare the model first."
        )
    way_out = "give widths by the paths of layers, {'head': 4}"
    require(isinstance(bits, Mapping), "bits", bits, way_out, SchemeError)
    made = copied(model)
    layers = {n: m for n, m in made.named_modules() if isinstance(m, QuantizedLayer)}
    for name, width in bits.items():
        if name not in layers:
            raise UnknownNameError(
                f"the model has no quantised layer '{name}'; it has {', '.join(layers)}."
            )
        set_weight_bits(layers[name], width, name)
    _switch_inputs(made, set(bits))
    return made


def set_weight_bits(layer: QuantizedLayer, bits: int, name: str) -> QuantizedLayer:
    """Give a layer's weights another width, in place, and return it.

    A scale that was chosen for another width is dropped: the min-max of each channel takes its
    place. At 32 bits the weights stay in float.

    Raises:
        SchemeError: There are no integers of that width.
    """
    if not isinstance(bits, Integral):
        raise SchemeError(f"'{name}' cannot have weights of {bits!r} bits; give a whole number.")
    layer.excluded = bits == FLOAT_BITS
    if layer.excluded:
        layer.enabled = False
        return layer
    if not 2 <= bits <= 8:
        raise SchemeError(
            f"'{name}' cannot have weights of {bits} bits; integers have 2 to 8, and "
            f"{FLOAT_BITS} leaves them in float."
        )
    if bits != layer.spec.bits:
        layer.spec = replace(layer.spec, bits=bits)
        layer.weight_scale = layer.start_share = layer.log_scale_change = None
    layer.enabled = True
    return layer


def _switch_inputs(model: fx.GraphModule, changed: set[str]) -> None:
    """Turn on quantisers of changed layers where a neighbour computes on integers, else off."""
    places: dict[str, list[fx.Node]] = {}
    for node in model.graph.nodes:
        if isinstance(_module(node, model), FakeQuantize):
            places.setdefault(str(node.target), []).append(node)
    for name, nodes in places.items():
        readers = [reader for node in nodes for reader in _readers(node, model)]
        writers = [_writer(node, model) for node in nodes]
        if changed & {str(neighbour.target) for neighbour in readers + writers}:
            quantizer = model.get_submodule(name)
            assert isinstance(quantizer, FakeQuantize)
            in_float = all(_is_float_layer(reader, model) for reader in readers)
            quantizer.excluded = in_float and not any(_is_integer(w, model) for w in writers)
            quantizer.enabled = not quantizer.excluded


def _module(node: fx.Node, model: fx.GraphModule) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _readers(node: fx.Node, model: fx.GraphModule) -> list[fx.Node]:
    """What computes with a tensor's values, through operations that hand them on."""
    found = []
    for user in node.users:
        kind = kind_of(user, model)
        if kind == "same_values":
            found += _readers(user, model)
        elif kind != "shape":
            found.append(user)
    return found


def _writer(quantizer: fx.Node, model: fx.GraphModule) -> fx.Node:
    """The operation whose result a quantiser puts on its grid, before a fused activation."""
    node = quantizer.all_input_nodes[0]
    while kind_of(node, model) in {"activation", "same_values"}:
        node = node.all_input_nodes[0]
    return node


def _is_float_layer(node: fx.Node, model: fx.GraphModule) -> bool:
    module = _module(node, model)
    return isinstance(module, QuantizedLayer) and not module.enabled


def _is_integer(node: fx.Node, model: fx.GraphModule) -> bool:
    module = _module(node, model)
    return isinstance(module, QuantizedLayer) and module.enabled
