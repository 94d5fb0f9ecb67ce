"""Hard sigmoids between integers, written as the sum that an integer kernel exists for."""

import numpy as np
import onnx
from onnx import helper

from torchedge.reference.elementwise import is_hard_gate_grid
from torchedge_onnx.graph import (
    KEEP_VALUES,
    Constant,
    add_constant,
    attribute,
    constants,
    copied,
    producers,
    remove_unused,
    replace_node,
)

__all__ = ["hard_gates_as_sums"]

_THREE, _SIX = 3.0, 6.0


def hard_gates_as_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write ``Q(HardSigmoid(x), s)`` as ``Q(x + 3, 6·s)``, which is dequantised with ``s``.

    Both are the same integers where the grid begins at 0 and ends at 1 or before: its ends cut the
    sum where the hard sigmoid is cut. ONNX Runtime has an integer kernel for the sum alone.

    Args:
        model: With Q/DQ; a hard sigmoid that reads floats, or is read as such, stays.

    Returns:
        A new model, whose tensors in float are not those that they were.
    """
    copy = copied(model)
    values, made_by = constants(copy), producers(copy)
    for node in [n for n in copy.graph.node if n.op_type == "HardSigmoid"]:
        readers = [n for n in copy.graph.node if node.output[0] in n.input]
        if _is_plain(node) and len(readers) == 1 and _reads_integers(node, made_by):
            quantizer = readers[0]
            if quantizer.op_type == "QuantizeLinear" and _ends_at_one(quantizer, values):
                _write_sum(copy, node, quantizer, values[quantizer.input[1]])
    remove_unused(copy)
    return copy


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether it is ``(x + 3) / 6``; ONNX's own default is another line."""
    line = [float(str(attribute(node, *pair))) for pair in (("alpha", 0.2), ("beta", 0.5))]
    return bool(np.allclose(line, [1 / _SIX, 0.5], rtol=1e-6, atol=0))


def _reads_integers(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    source = made_by.get(node.input[0])
    while source is not None and source.op_type in KEEP_VALUES:
        source = made_by.get(source.input[0])
    return source is not None and source.op_type == "DequantizeLinear"


def _ends_at_one(quantizer: onnx.NodeProto, values: dict[str, Constant]) -> bool:
    scale, zero = (values[name] for name in quantizer.input[1:3])
    is_one_grid = zero.dtype == np.uint8 and scale.size == 1
    return is_one_grid and is_hard_gate_grid(float(scale.item()), int(zero.item()))


def _write_sum(
    model: onnx.ModelProto, node: onnx.NodeProto, quantizer: onnx.NodeProto, scale: Constant
) -> None:
    name = node.output[0]
    three = [f"{name}_three", f"{name}_three_scale", f"{name}_three_zero_point"]
    add_constant(model, three[0], np.array(1, np.uint8))
    add_constant(model, three[1], np.array(_THREE, np.float32))
    add_constant(model, three[2], np.array(0, np.uint8))
    coarse = np.float32(_SIX) * np.asarray(scale, np.float32)
    add_constant(model, f"{name}_six_steps", np.asarray(coarse))
    quantizer.input[1] = f"{name}_six_steps"
    real = f"{name}_three_real"
    sum_nodes = [
        helper.make_node("DequantizeLinear", three, [real], name=f"{node.name}_three"),
        helper.make_node("Add", [node.input[0], real], [name], name=f"{node.name}_sum"),
    ]
    replace_node(model, node, sum_nodes)
