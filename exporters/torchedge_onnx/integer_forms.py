"""Rewrites into forms that integer kernels exist for; what is computed stays as it is."""

from collections import Counter

import numpy as np
import onnx
from onnx import helper

from torchedge_onnx.graph import (
    Constant,
    add_constant,
    attribute,
    chain_before,
    constants,
    copied,
    producers,
    remove_unused,
    replace_input,
    replace_node,
)

__all__ = ["flatten_integers", "fold_padding", "transpose_weights"]


def transpose_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weight of a linear layer transposed, where a ``Transpose`` follows its Q/DQ.

    ONNX Runtime would move the transposition by dequantising the weight and quantising it again,
    and TensorRT's rules ask for Q/DQ right before the product. The weight may be integers before a
    ``DequantizeLinear``, or floats before a pair.
    """
    copy = copied(model)
    values, made_by = constants(copy), producers(copy)
    for node in [n for n in copy.graph.node if n.op_type == "Transpose"]:
        chain = _weight_chain(node, values, made_by)
        if not chain:
            continue
        order = list(attribute(node, "perm", []))  # type: ignore[call-overload]
        name = f"{node.output[0]}_weight"
        add_constant(copy, name, values[chain[-1].input[0]].transpose(order))
        replace_node(copy, node, _transposed_chain(node, chain, name, order))
    remove_unused(copy)
    return copy


def _weight_chain(
    node: onnx.NodeProto, values: dict[str, Constant], made_by: dict[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    """The dequantiser and, where the weight is in float, the quantiser before a ``Transpose``."""
    chain: list[onnx.NodeProto] = []
    name = node.input[0]
    for operation in ("DequantizeLinear", "QuantizeLinear"):
        link = made_by.get(name)
        if link is None or link.op_type != operation:
            return []
        chain.append(link)
        name = link.input[0]
        if name in values:
            return chain
    return []


def _transposed_chain(
    node: onnx.NodeProto, chain: list[onnx.NodeProto], name: str, order: list[int]
) -> list[onnx.NodeProto]:
    """The same operators over other axes, from the transposed weight to the result of ``node``."""
    made = []
    for number, link in enumerate(reversed(chain)):
        last = number == len(chain) - 1
        output = node.output[0] if last else f"{node.output[0]}_integers"
        axis = order.index(int(str(attribute(link, "axis", 1))) % len(order))
        made.append(
            helper.make_node(
                link.op_type,
                [name, *link.input[1:]],
                [output],
                name=f"{node.name}_{link.op_type}",
                axis=axis,
            )
        )
        name = output
    return made


def flatten_integers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise the result of a global average at once, and flatten the integers.

    ONNX Runtime averages integers only where the pair stands right behind the pool. It carries
    integers through a ``Reshape`` by itself, and not through a ``Flatten``.
    """
    copy = copied(model)
    made_by = producers(copy)
    for node in [n for n in copy.graph.node if n.op_type == "Flatten"]:
        pool = made_by.get(node.input[0])
        quantizer = _only_reader(copy, node.output[0], "QuantizeLinear")
        real = quantizer and _only_reader(copy, quantizer.output[0], "DequantizeLinear")
        if pool is not None and pool.op_type == "GlobalAveragePool" and quantizer and real:
            _flatten_behind(copy, node, quantizer, real)
    return copy


def _only_reader(model: onnx.ModelProto, name: str, operation: str) -> onnx.NodeProto | None:
    """The node that reads a tensor, if it is the only one and of that type."""
    readers = [node for node in model.graph.node if name in node.input]
    alone = len(readers) == 1 and name not in {output.name for output in model.graph.output}
    return readers[0] if alone and readers[0].op_type == operation else None


def _flatten_behind(
    model: onnx.ModelProto,
    flatten: onnx.NodeProto,
    quantizer: onnx.NodeProto,
    real: onnx.NodeProto,
) -> None:
    """The dequantiser keeps its name, by which the program knows it; an output keeps its own."""
    name = real.output[0]
    is_output = name in {output.name for output in model.graph.output}
    pooled, flat = (f"{name}_pooled", name) if is_output else (name, f"{name}_flat")
    replace_input(model, name, flat)
    quantizer.input[0] = flatten.input[0]
    real.output[0] = pooled
    for info in [v for v in model.graph.value_info if v.name in {pooled, quantizer.output[0]}]:
        model.graph.value_info.remove(info)
    model.graph.node.remove(flatten)
    add_constant(model, f"{flat}_shape", np.array([0, -1], np.int64))
    reshaped = helper.make_node("Reshape", [pooled, f"{flat}_shape"], [flat], name=flatten.name)
    model.graph.node.insert(list(model.graph.node).index(real) + 1, reshaped)


def fold_padding(model: onnx.ModelProto, *, through_quantizers: bool = False) -> onnx.ModelProto:
    """Let a convolution pad with zeros itself, instead of reading what a ``Pad`` wrote.

    Args:
        model: The graph.
        through_quantizers: Also where a symmetric Q/DQ pair stands between them: zero is on its
            grid, so it does not matter whether zeros come before it or after.
    """
    copy = _quantized_before_padding(model) if through_quantizers else copied(model)
    values, made_by = constants(copy), producers(copy)
    for node in copy.graph.node:
        pad = made_by.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad":
            continue
        if attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
            continue  # its own pads depend on the size of what it reads
        widths = _zero_padding(pad, values)
        own = list(attribute(node, "pads", [0] * len(widths or ())))  # type: ignore[call-overload]
        if widths is not None:
            node.input[0] = pad.input[0]
            _set_attribute(node, "pads", [a + b for a, b in zip(own, widths, strict=True)])
    remove_unused(copy)
    return copy


def _quantized_before_padding(model: onnx.ModelProto) -> onnx.ModelProto:
    """``Pad → Q → DQ → Conv`` as ``Q → DQ → Pad → Conv``, where nothing else reads the pair.

    Others may read the ``Pad``; they keep it.
    """
    copy = copied(model)
    values, made_by = constants(copy), producers(copy)
    reads = Counter(name for node in copy.graph.node for name in node.input)
    moved: set[str] = set()
    for node in [n for n in copy.graph.node if n.op_type == "Conv"]:
        operations = ("DequantizeLinear", "QuantizeLinear", "Pad")
        chain = chain_before(node.input[0], operations, made_by)
        if chain is None or any(reads[link.output[0]] != 1 for link in chain[:2]):
            continue
        real, integers, pad = chain
        zero = values.get(real.input[2])
        if zero is None or np.any(zero) or _zero_padding(pad, values) is None:
            continue
        padded = f"{real.output[0]}_padded"
        behind = helper.make_node("Pad", [real.output[0], *pad.input[1:]], [padded])
        behind.attribute.extend(pad.attribute)
        integers.input[0], node.input[0] = pad.input[0], padded
        copy.graph.node.insert(list(copy.graph.node).index(node), behind)
        moved |= {link.output[0] for link in chain}
    for info in [v for v in copy.graph.value_info if v.name in moved]:
        copy.graph.value_info.remove(info)
    return copy


def _zero_padding(pad: onnx.NodeProto, values: dict[str, Constant]) -> list[int] | None:
    """Spatial pads of a ``Pad`` with constant zeros, in the order of ``Conv``; else ``None``."""
    widths = values.get(pad.input[1])
    filling = values.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
    zeros = filling is None or not np.any(filling)
    if attribute(pad, "mode", b"constant") != b"constant" or widths is None or not zeros:
        return None
    if len(pad.input) > 3 and pad.input[3]:
        return None
    begins, ends = widths.reshape(2, -1).tolist()
    spatial = [*begins[2:], *ends[2:]]
    return None if any([*begins[:2], *ends[:2]]) or min(spatial) < 0 else spatial


def _set_attribute(node: onnx.NodeProto, name: str, value: list[int]) -> None:
    kept = [found for found in node.attribute if found.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
