"""Rewrites of an ONNX graph that leave what it computes as it is; each returns a new model."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_onnx.graph import (
    attribute,
    chain_before,
    constants,
    copied,
    producers,
    remove_unused,
    replace_input,
    tensor_ranks,
)

__all__ = [
    "fold_bias_quantizers",
    "fold_weight_quantizers",
    "lower_opset",
    "mean_to_global_pool",
    "with_float_weights",
    "with_own_zero_points",
    "without_metadata",
    "without_quantizers",
]

# Operators whose opset-18 form is valid at 13 as it stands, for float32 and int8. ONNX has changed
# some of them since, in ways that such graphs do not use; all others must not have changed at all.
_SAME_SINCE_13 = frozenset(
    {
        *("Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DequantizeLinear"),
        *("Div", "Exp", "Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid"),
        *("Identity", "LeakyRelu", "MatMul", "MaxPool", "Mul", "PRelu", "QuantizeLinear", "Relu"),
        *("Sigmoid", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose"),
        "Unsqueeze",
    }
)
_IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}


def without_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop stack traces and other notes that name files of the machine that exported."""
    copy = copied(model)
    del copy.metadata_props[:]
    del copy.graph.metadata_props[:]
    for item in (*copy.graph.node, *copy.graph.initializer, *copy.graph.value_info):
        item.ClearField("doc_string")
        del item.metadata_props[:]
    for info in (*copy.graph.input, *copy.graph.output):
        info.ClearField("doc_string")
        del info.metadata_props[:]
    return copy


def mean_to_global_pool(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write a mean over all spatial axes as ``GlobalAveragePool``, which has integer kernels."""
    copy = copied(model)
    values, ranks = constants(copy), tensor_ranks(copy)
    for node in [n for n in copy.graph.node if n.op_type == "ReduceMean"]:
        rank = ranks.get(node.input[0], 0)
        given = attribute(node, "axes", None)  # an input from opset 18 on
        axes = values.get(node.input[1]) if len(node.input) > 1 else given
        if axes is None or rank <= 2:
            continue
        if sorted(int(a) % rank for a in np.ravel(np.asarray(axes))) != list(range(2, rank)):
            continue
        index = list(copy.graph.node).index(node)
        copy.graph.node.remove(node)
        for offset, new in enumerate(_pool_nodes(node)):
            copy.graph.node.insert(index + offset, new)
    remove_unused(copy)
    return copy


def _pool_nodes(mean: onnx.NodeProto) -> list[onnx.NodeProto]:
    source, result = mean.input[0], mean.output[0]
    if attribute(mean, "keepdims", 1):
        return [helper.make_node("GlobalAveragePool", [source], [result], name=mean.name)]
    pooled = f"{result}_pooled"
    return [
        helper.make_node("GlobalAveragePool", [source], [pooled], name=mean.name),
        helper.make_node("Flatten", [pooled], [result], name=f"{mean.name}_flatten", axis=1),
    ]


def fold_weight_quantizers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights as the integers ``QuantizeLinear`` makes of them: a quarter of the bytes."""
    copy = copied(model)
    values = constants(copy)
    for node in [n for n in copy.graph.node if n.op_type == "QuantizeLinear"]:
        if node.input[0] not in values:
            continue
        weight, scale, zero = (values[name] for name in node.input)
        integers = _quantized(weight, scale, zero, int(str(attribute(node, "axis", 1))))
        copy.graph.initializer.append(numpy_helper.from_array(integers, node.output[0]))
        copy.graph.node.remove(node)
    remove_unused(copy)
    return copy


def fold_bias_quantizers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store biases as their int32 steps, where ``Cast(Round(Div(bias, scale)))`` is left of them.

    The exporter's own folding does this for most, and leaves some.
    """
    copy = copied(model)
    values, made_by = constants(copy), producers(copy)
    for node in [n for n in copy.graph.node if n.op_type == "DequantizeLinear"]:
        chain = chain_before(node.input[0], ("Cast", "Round", "Div"), made_by)
        if chain is None or any(name not in values for name in chain[-1].input):
            continue
        bias, scale = (np.asarray(values[name], np.float32) for name in chain[-1].input)
        name = f"{node.output[0]}_integers"
        integers = np.rint(bias / scale).astype(np.int32)
        copy.graph.initializer.append(numpy_helper.from_array(integers, name))
        node.input[0] = name
    remove_unused(copy)
    return copy


def with_own_zero_points(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give each weight a zero point of its own.

    ONNX Runtime fails to load a graph whose weights share one when it is told to avoid saturating
    kernels (``session.x64quantprecision``).
    """
    copy = copied(model)
    values = constants(copy)
    for node in copy.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            own = f"{node.output[0]}_zero_point"
            copy.graph.initializer.append(numpy_helper.from_array(values[node.input[2]], own))
            node.input[2] = own
    remove_unused(copy)
    return copy


def _along(values: Array, rank: int, axis: int) -> Array:
    return values.reshape([-1 if d == axis else 1 for d in range(rank)]) if values.ndim else values


def _quantized(
    weight: Array,
    scale: Array,
    zero: Array,
    axis: int,
) -> Array:
    limits = np.iinfo(zero.dtype)
    steps = np.rint(weight / _along(scale, weight.ndim, axis))
    shifted = steps + _along(zero, weight.ndim, axis)
    return np.asarray(np.clip(shifted, limits.min, limits.max).astype(zero.dtype))


def without_quantizers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float network inside a Q/DQ graph: same names, weights as the integers mean them."""
    copy = copied(model)
    made_by, values = producers(copy), constants(copy)
    outputs = {output.name for output in copy.graph.output}
    for node in [n for n in copy.graph.node if n.op_type == "DequantizeLinear"]:
        quantizer = made_by.get(node.input[0])
        if quantizer is not None and quantizer.op_type == "QuantizeLinear":
            source = quantizer.input[0]
            if node.output[0] in outputs:
                _write_output(copy, source, node.output[0])
            else:
                replace_input(copy, node.output[0], source)
        elif node.input[0] in values:
            replacement = _dequantized(node, values)
            copy.graph.initializer.append(numpy_helper.from_array(replacement, node.output[0]))
        else:
            raise ExportError(
                f"'{node.name}' dequantises '{node.input[0]}', which nothing quantised."
            )
        copy.graph.node.remove(node)
    remove_unused(copy)
    return copy


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and biases as the real numbers they mean; activations stay quantised."""
    copy = copied(model)
    values = constants(copy)
    for node in [n for n in copy.graph.node if n.op_type == "DequantizeLinear"]:
        if node.input[0] in values:
            replacement = _dequantized(node, values)
            copy.graph.initializer.append(numpy_helper.from_array(replacement, node.output[0]))
            copy.graph.node.remove(node)
    remove_unused(copy)
    return copy


def _write_output(model: onnx.ModelProto, old: str, new: str) -> None:
    """Make ``old`` the graph output ``new`` in place of what its last node writes.

    The node that writes ``old`` takes the new name; where that is an input of the network or an
    output under a name of its own, it is copied.
    """
    made_by = producers(model)
    made_by[new].output[0] = f"{new}_dropped"
    if old not in made_by or old in {output.name for output in model.graph.output}:
        replace_input(model, new, old)
        model.graph.node.append(helper.make_node("Identity", [old], [new], name=f"{new}_copied"))
        return
    replace_input(model, old, new)
    names = made_by[old].output
    names[list(names).index(old)] = new


def _dequantized(
    node: onnx.NodeProto,
    values: dict[str, Array],
) -> Array:
    integers, scale, zero = (values[name] for name in node.input)
    axis = int(str(attribute(node, "axis", 1)))
    real = integers.astype(np.float32) - _along(zero, integers.ndim, axis).astype(np.float32)
    return np.asarray((real * _along(scale, integers.ndim, axis)).astype(np.float32))


def lower_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Write an opset-18 graph of a plain CNN in another opset, for older or newer parsers.

    For float32 and int8, 19 and 20 have changed nothing that such graphs use.

    Raises:
        ExportError: An operator has no form at that opset, or none that is known here.
    """
    copy = copied(model)
    if opset not in _IR_VERSIONS:
        raise ExportError(f"opset {opset} is outside {min(_IR_VERSIONS)}…{max(_IR_VERSIONS)}.")
    if opset < 18:
        for node in copy.graph.node:
            _lower_node(copy, node, opset)
    del copy.opset_import[:]
    copy.opset_import.append(helper.make_opsetid("", opset))
    copy.ir_version = _IR_VERSIONS[opset]
    remove_unused(copy)
    return copy


def _lower_node(model: onnx.ModelProto, node: onnx.NodeProto, opset: int) -> None:
    if node.op_type == "Reshape":
        return _drop_allowzero(model, node)
    if node.op_type == "ReduceMean":
        return _axes_to_attribute(model, node)
    if node.op_type == "BatchNormalization" and not attribute(node, "training_mode", 0):
        return _drop_attribute(node, "training_mode")
    if node.op_type == "Pad" and not any(node.input[3:]):
        return None  # opset 18 added axes, its fourth input
    if node.op_type in _SAME_SINCE_13 or _is_unchanged(node, opset):
        return None
    raise ExportError(
        f"'{node.name}' is {node.op_type}, which cannot be written at opset {opset} here; "
        "use a layer from the list in docs/how-to/jetson.md, or a target with a newer opset."
    )


def _is_unchanged(node: onnx.NodeProto, opset: int) -> bool:
    """Whether opset 18 still has the form that the operator had at ``opset``."""
    if not onnx.defs.has(node.op_type, 18, node.domain):
        return False
    return bool(onnx.defs.get_schema(node.op_type, 18, node.domain).since_version <= opset)


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [found for found in node.attribute if found.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _drop_allowzero(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    shape = constants(model).get(node.input[1])
    if attribute(node, "allowzero", 0) and (shape is None or 0 in shape):
        raise ExportError(f"'{node.name}' reshapes to a size of zero, which opset 13 cannot say.")
    _drop_attribute(node, "allowzero")


def _axes_to_attribute(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    axes = constants(model).get(node.input[1]) if len(node.input) > 1 else None
    if axes is None:
        raise ExportError(f"'{node.name}' averages over axes that are not constant.")
    del node.input[1:]
    _drop_attribute(node, "noop_with_empty_axes")
    node.attribute.append(helper.make_attribute("axes", [int(a) for a in axes.ravel()]))
