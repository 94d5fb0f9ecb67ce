"""Rewrites into forms that integer kernels exist for; what is computed stays as it is."""

from collections import Counter

import numpy as np
import onnx
from onnx import helper

from torchedge_onnx.graph import (
    Constant,
    add_constant,
    attribute,
    constants,
    copied,
    producers,
    remove_unused,
    replace_node,
    tensor_shapes,
)

__all__ = ["fold_padding", "transpose_weights"]


def transpose_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the integers of a linear layer transposed, where a ``Transpose`` follows them.

    ONNX Runtime would move the transposition by dequantising the weight and quantising it again.
    """
    copy = copied(model)
    values, made_by = constants(copy), producers(copy)
    for node in [n for n in copy.graph.node if n.op_type == "Transpose"]:
        dequantizer = made_by.get(node.input[0])
        if dequantizer is None or dequantizer.input[0] not in values:
            continue
        if dequantizer.op_type != "DequantizeLinear":
            continue
        order = list(attribute(node, "perm", []))  # type: ignore[call-overload]
        integers = f"{node.output[0]}_integers"
        add_constant(copy, integers, values[dequantizer.input[0]].transpose(order))
        axis = order.index(int(str(attribute(dequantizer, "axis", 1))) % len(order))
        inputs = [integers, *dequantizer.input[1:]]
        dequantized = helper.make_node(
            "DequantizeLinear", inputs, list(node.output), name=node.name, axis=axis
        )
        replace_node(copy, node, [dequantized])
    remove_unused(copy)
    return copy


def fold_padding(model: onnx.ModelProto, *, through_quantizers: bool = False) -> onnx.ModelProto:
    """Let a convolution pad with zeros itself, instead of reading what a ``Pad`` wrote.

    Args:
        model: The graph.
        through_quantizers: Also where a symmetric Q/DQ pair stands between them: zero is on its
            grid, so it does not matter whether zeros come before it or after.
    """
    copy = _quantized_before_padding(model) if through_quantizers else copied(model)
    values, made_by, shapes = constants(copy), producers(copy), tensor_shapes(copy)
    for node in copy.graph.node:
        pad = made_by.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad":
            continue
        widths = _zero_padding(pad, values, len(shapes[node.input[0]]))
        own = list(attribute(node, "pads", [0] * len(widths or ())))  # type: ignore[call-overload]
        if widths is not None:
            node.input[0] = pad.input[0]
            _set_attribute(node, "pads", [a + b for a, b in zip(own, widths, strict=True)])
    remove_unused(copy)
    return copy


def _quantized_before_padding(model: onnx.ModelProto) -> onnx.ModelProto:
    """``Pad → Q → DQ → Conv`` as ``Q → DQ → Pad → Conv``, where nothing else reads between them."""
    copy = copied(model)
    values, made_by, shapes = constants(copy), producers(copy), tensor_shapes(copy)
    reads = Counter(name for node in copy.graph.node for name in node.input)
    moved: set[str] = set()
    for node in [n for n in copy.graph.node if n.op_type == "Conv"]:
        chain = _chain_before(node, made_by, ("DequantizeLinear", "QuantizeLinear", "Pad"))
        if chain is None or any(reads[link.output[0]] != 1 for link in chain):
            continue
        real, integers, pad = chain
        zero, rank = values.get(real.input[2]), len(shapes[node.input[0]])
        if zero is None or np.any(zero) or _zero_padding(pad, values, rank) is None:
            continue
        integers.input[0], node.input[0] = pad.input[0], pad.output[0]
        pad.input[0] = real.output[0]
        copy.graph.node.remove(pad)
        copy.graph.node.insert(list(copy.graph.node).index(node), pad)
        moved |= {link.output[0] for link in chain}
    for info in [v for v in copy.graph.value_info if v.name in moved]:
        copy.graph.value_info.remove(info)
    return copy


def _chain_before(
    node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto], operations: tuple[str, ...]
) -> tuple[onnx.NodeProto, ...] | None:
    """The nodes that lead to the first input, the nearest first, if they are these operations."""
    chain: list[onnx.NodeProto] = []
    for operation in operations:
        source = made_by.get((chain[-1] if chain else node).input[0])
        if source is None or source.op_type != operation:
            return None
        chain.append(source)
    return tuple(chain)


def _zero_padding(pad: onnx.NodeProto, values: dict[str, Constant], rank: int) -> list[int] | None:
    """Spatial pads of a ``Pad`` with constant zeros, in the order of ``Conv``; else ``None``."""
    widths = values.get(pad.input[1])
    filling = values.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
    zeros = filling is None or not np.any(filling)
    if attribute(pad, "mode", b"constant") != b"constant" or widths is None or not zeros:
        return None
    if len(pad.input) > 3 and pad.input[3]:
        return None
    begins, ends = widths.reshape(2, rank).tolist()
    spatial = [*begins[2:], *ends[2:]]
    return None if any([*begins[:2], *ends[:2]]) or min(spatial) < 0 else spatial


def _set_attribute(node: onnx.NodeProto, name: str, value: list[int]) -> None:
    kept = [found for found in node.attribute if found.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
