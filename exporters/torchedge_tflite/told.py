"""The ONNX graph as TensorFlow's converter gets it."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import onnx

from torchedge_onnx.graph import (
    Constant,
    add_constant,
    attribute,
    constants,
    copied,
    producers,
    remove_unused,
    tensor_shapes,
)
from torchedge_onnx.rewrites import with_float_weights
from torchedge_tflite.trained import Grid

__all__ = ["distinguishable", "told_model", "without_shapes_of_sums"]

_APART = 1e-5  # far more than TensorFlow's arithmetic moves a scale, far less than half a step
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_ELEMENT_BY_ELEMENT = _QUANTIZERS | {"Relu"}
_HEIGHT = "axis_of_height"
_SAME_VALUES = frozenset({"Flatten", "MaxPool", "Relu", "Reshape", "Squeeze", "Unsqueeze"})


def told_model(model: onnx.ModelProto, told: Mapping[str, Grid]) -> onnx.ModelProto:
    """The graph as the converter gets it: float weights, and the told grids at activations."""
    copy = with_float_weights(model)
    made_by = producers(copy)
    for node in copy.graph.node:
        pair = node if node.op_type == "QuantizeLinear" else made_by.get(node.input[0])
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or pair is None:
            continue
        grid, own = told[pair.output[0]], f"{pair.output[0]}_told_scale"
        if node is pair:
            add_constant(copy, own, np.array(grid.scale, np.float32))
        node.input[1] = own
    _pool_in_one_dimension(copy)
    _filter_in_two_dimensions(copy)
    _write_out_pools(copy)
    remove_unused(copy)
    return without_shapes_of_sums(copy)


def without_shapes_of_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, without the shapes of its sums.

    onnx2tf 1.29.24 compares the shape of a sum, channels last, with the one in the graph, channels
    first, and transposes both operands and every later reader to make them equal.
    """
    copy = copied(model)
    sums = {node.output[0] for node in copy.graph.node if node.op_type == "Add"}
    for info in [v for v in copy.graph.value_info if v.name in sums]:
        copy.graph.value_info.remove(info)
    return copy


def _pool_in_one_dimension(model: onnx.ModelProto) -> None:
    """An average over a row, which PyTorch lifts to a picture and back, stays in the row.

    onnx2tf would come back by slices.
    """
    made_by, values = producers(model), constants(model)
    read = [name for node in model.graph.node for name in node.input]
    for node in [n for n in model.graph.node if n.op_type == "Squeeze"]:
        pool = made_by.get(node.input[0])
        if pool is None or pool.op_type != "GlobalAveragePool" or read.count(pool.output[0]) > 1:
            continue
        lift = made_by.get(pool.input[0])
        if lift is None or lift.op_type != "Unsqueeze" or not _same_axes(lift, node, values):
            continue
        pool.input[0] = lift.input[0]
        pool.output[0] = node.output[0]
        model.graph.node.remove(node)


def _same_axes(a: onnx.NodeProto, b: onnx.NodeProto, values: Mapping[str, Constant]) -> bool:
    return all(
        np.array_equal(values[x], values[y]) for x, y in zip(a.input[1:], b.input[1:], strict=True)
    )


def _filter_in_two_dimensions(model: onnx.ModelProto) -> None:
    """A depthwise convolution of a row becomes one of a picture of height 1.

    onnx2tf would write a grouped CONV_2D, which old kernels lack, and no depthwise one. The picture
    goes on through quantisers, because onnx2tf forgets the layout of what was made a row again.
    """
    values, nodes = constants(model), onnx.GraphProto().node
    wide: dict[str, str] = {}
    add_constant(model, _HEIGHT, np.array([2]))
    for node in model.graph.node:
        row, result = next(iter(node.input), ""), node.output[0]
        if weight := _row_weight(node, values):
            if row not in wide:
                wide[row] = f"{row}_wide"
                nodes.append(onnx.helper.make_node("Unsqueeze", [row, _HEIGHT], [wide[row]]))
            add_constant(model, f"{result}_weight", values[weight][:, :, None])
            lifted = _over_a_picture(node, f"{result}_weight", values[weight].shape[2])
        elif row in wide and node.op_type in _ELEMENT_BY_ELEMENT:
            lifted = node
        else:
            nodes.append(node)
            continue
        wide[result] = f"{result}_wide"
        nodes.append(lifted)
        nodes[-1].input[0], nodes[-1].output[0] = wide[row], wide[result]
        nodes.append(onnx.helper.make_node("Squeeze", [wide[result], _HEIGHT], [result]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _row_weight(node: onnx.NodeProto, values: Mapping[str, Constant]) -> str | None:
    """Name of the weight of a depthwise convolution of a row; ``None`` for every other node."""
    if node.op_type != "Conv" or attribute(node, "group", 1) == 1:
        return None
    weight = values.get(node.input[1])
    depthwise_row = weight is not None and weight.ndim == 3 and weight.shape[1] == 1
    return node.input[1] if depthwise_row else None


def _over_a_picture(node: onnx.NodeProto, weight: str, size: int) -> onnx.NodeProto:
    before, after = _integers(node, "pads", [0, 0])
    return onnx.helper.make_node(
        "Conv",
        [node.input[0], weight, *node.input[2:]],
        list(node.output),
        group=int(str(attribute(node, "group", 1))),
        kernel_shape=[1, size],
        # TensorFlow wants one stride for both axes; along a height of 1 any will do.
        strides=2 * _integers(node, "strides", [1]),
        dilations=[1, *_integers(node, "dilations", [1])],
        pads=[0, before, 0, after],
    )


def _integers(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    return list(cast(Sequence[int], attribute(node, name, default)))


def _write_out_pools(model: onnx.ModelProto) -> None:
    """A global average within one grid becomes a pool over the whole picture.

    Every runtime rounds pools alike. They cannot rescale, so other averages stay means, which can.
    """
    shapes, made_by, values = tensor_shapes(model), producers(model), constants(model)
    for node in model.graph.node:
        if node.op_type != "GlobalAveragePool":
            continue
        before, after = _quantizer_before(node, made_by), _quantizer_after(node, model)
        if before is None or after is None:
            continue
        if all(
            values[a] == values[b] for a, b in zip(before.input[1:], after.input[1:], strict=True)
        ):
            node.op_type = "AveragePool"
            sizes = shapes[node.input[0]][2:]
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", sizes))


def _quantizer_before(
    node: onnx.NodeProto, made_by: Mapping[str, onnx.NodeProto]
) -> onnx.NodeProto | None:
    """The node that says which grid an operation's operand has."""
    source = made_by.get(node.input[0])
    while source is not None and source.op_type in _SAME_VALUES:
        source = made_by.get(source.input[0])
    return source if source is not None and source.op_type in _QUANTIZERS else None


def _quantizer_after(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that says which grid an operation's result has."""
    while True:
        readers = [other for other in model.graph.node if node.output[0] in other.input]
        if len(readers) != 1 or readers[0].op_type not in _SAME_VALUES | _QUANTIZERS:
            return None
        node = readers[0]
        if node.op_type in _QUANTIZERS:
            return node


def distinguishable(activations: Mapping[str, Grid]) -> dict[str, Grid]:
    """Grids that can be told apart by their numbers, each as near to the trained one as possible.

    TensorFlow's converter hands on ranges, not names, and moves a scale by its last bits. Two
    different grids that are nearly equal are moved apart before, and the trained ones put in later.

    Example:
        >>> same, other = Grid(scale=0.5, zero_point=0), Grid(scale=0.25, zero_point=0)
        >>> distinguishable({"a": same, "b": other}) == {"a": same, "b": other}
        True
    """
    told: dict[Grid, Grid] = {}
    for grid in sorted(set(activations.values()), key=lambda g: (g.zero_point, g.scale)):
        before = list(told.values())[-1:]
        least = max((g.scale for g in before if g.zero_point == grid.zero_point), default=0.0)
        scale = max(grid.scale, float(np.float32(least * (1 + _APART))))
        told[grid] = Grid(scale=scale, zero_point=grid.zero_point)
    return {name: told[grid] for name, grid in activations.items()}
