"""A float graph as onnx2tf gets it."""

import onnx

from torchedge_onnx.graph import copied

__all__ = ["without_shapes_of_sums"]


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
