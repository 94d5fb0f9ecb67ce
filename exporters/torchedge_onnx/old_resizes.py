"""``Upsample`` and the first ``Resize`` as the ``Resize`` of opset 11 that samples where they do.

Both begin at the corner of the first pixel, which opset 11 calls ``asymmetric``; its own default
begins at half a pixel. Of the nearest pixel, opset 10 says nothing: ONNX Runtime takes the one
before where an axis grows, and the one after where it shrinks.
"""

from typing import TYPE_CHECKING

import numpy as np

from torchedge.bench.session import Array
from torchedge_onnx.graph import (
    add_constant,
    attribute,
    constants,
    copied,
    opset_of,
    producers,
    replace_node,
)

if TYPE_CHECKING:
    import onnx

__all__ = ["with_old_sampling"]

_FIRST_WITH_COORDINATES = 11


def with_old_sampling(lifted: "onnx.ModelProto", original: "onnx.ModelProto") -> "onnx.ModelProto":
    """Let what ONNX's converter made of old resizing nodes sample as they did.

    Args:
        lifted: The graph as the converter wrote it at opset 11 or newer.
        original: The same before; where it was of opset 11 or newer there is nothing to mend.
    """
    if opset_of(original) >= _FIRST_WITH_COORDINATES:
        return lifted
    old = [n for n in original.graph.node if n.op_type in {"Resize", "Upsample"}]
    copy = copied(lifted)
    made_by, values = producers(copy), constants(copy)
    for node in old:
        new = made_by[node.output[0]]
        replace_node(copy, new, _sampling(copy, new, values.get(new.input[-1])))
    return copy


def _sampling(
    model: "onnx.ModelProto", node: "onnx.NodeProto", scales: Array | None
) -> "list[onnx.NodeProto]":
    """One node, or two where a nearest pixel is looked for on growing and on shrinking axes."""
    is_nearest = attribute(node, "mode", b"nearest") == b"nearest"
    if scales is None or not is_nearest or np.all(scales >= 1):
        return [_resize(node, node.input[0], node.input[-1], node.output[0], "floor")]
    if np.all(scales <= 1):
        return [_resize(node, node.input[0], node.input[-1], node.output[0], "ceil")]
    grown, larger, smaller = (f"{node.output[0]}.{part}" for part in ("grown", "larger", "smaller"))
    add_constant(model, larger, np.maximum(scales, 1))
    add_constant(model, smaller, np.minimum(scales, 1))
    return [
        _resize(node, node.input[0], larger, grown, "floor"),
        _resize(node, grown, smaller, node.output[0], "ceil"),
    ]


def _resize(
    node: "onnx.NodeProto", source: str, scales: str, result: str, nearest: str
) -> "onnx.NodeProto":
    import onnx

    mode = attribute(node, "mode", b"nearest")
    return onnx.helper.make_node(
        "Resize",
        [source, "", scales],
        [result],
        name=node.name if result == node.output[0] else f"{node.name}_grown",
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode=nearest,
    )
