"""``Upsample`` and the first ``Resize`` as the ``Resize`` of opset 11 that samples where they do.

Both begin at the corner of the first pixel, which opset 11 calls ``asymmetric``; its own default
begins at half a pixel, and that is what ONNX's converter makes of them. Of the nearest pixel, opset
10 says nothing: ONNX Runtime takes the one before where an axis grows, and the one after where it
shrinks.
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
    replace_node,
)

if TYPE_CHECKING:
    import onnx

__all__ = ["hold_old_resizes", "write_held_resizes"]

_FIRST_WITH_COORDINATES = 11
_DOMAIN = "torchedge.held"  # the converter passes over nodes of domains that it does not know


def hold_old_resizes(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy in which the converter does not touch resizing nodes of before opset 11."""
    import onnx
    from onnx import helper

    old = [n for n in model.graph.node if n.op_type in {"Resize", "Upsample"}]
    if opset_of(model) >= _FIRST_WITH_COORDINATES or not old:
        return model
    copy = onnx.shape_inference.infer_shapes(model)  # nothing is inferred past a held node
    for node in [n for n in copy.graph.node if n.op_type in {"Resize", "Upsample"}]:
        scales = node.input[1] if len(node.input) > 1 else f"{node.output[0]}.scales"
        if len(node.input) < 2:
            given = np.array(attribute(node, "scales", []), np.float32)
            add_constant(copy, scales, given)
        held = helper.make_node(
            "Resize", [node.input[0], scales], node.output, node.name, domain=_DOMAIN
        )
        held.attribute.add().CopyFrom(
            helper.make_attribute("mode", attribute(node, "mode", b"nearest"))
        )
        replace_node(copy, node, [held])
    copy.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return copy


def write_held_resizes(lifted: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy of a graph of opset 11 or newer in which held nodes are ``Resize``."""
    copy = copied(lifted)
    values = constants(copy)
    for node in [n for n in copy.graph.node if n.domain == _DOMAIN]:
        replace_node(copy, node, _sampling(copy, node, values.get(node.input[1])))
    for extra in [o for o in copy.opset_import if o.domain == _DOMAIN]:
        copy.opset_import.remove(extra)
    return copy


def _sampling(
    model: "onnx.ModelProto", node: "onnx.NodeProto", scales: Array | None
) -> "list[onnx.NodeProto]":
    """One node, or two where a nearest pixel is looked for on growing and on shrinking axes."""
    source, given, result = node.input[0], node.input[1], node.output[0]
    is_nearest = attribute(node, "mode", b"nearest") == b"nearest"
    if scales is None or not is_nearest or np.all(scales >= 1):
        return [_resize(node, source, given, result, "floor")]
    if np.all(scales <= 1):
        return [_resize(node, source, given, result, "ceil")]
    grown, larger, smaller = (f"{result}.{part}" for part in ("grown", "larger", "smaller"))
    add_constant(model, larger, np.maximum(scales, 1))
    add_constant(model, smaller, np.minimum(scales, 1))
    return [
        _resize(node, source, larger, grown, "floor"),
        _resize(node, grown, smaller, result, "ceil"),
    ]


def _resize(
    node: "onnx.NodeProto", source: str, scales: str, result: str, nearest: str
) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node(
        "Resize",
        [source, "", scales],
        [result],
        name=node.name if result == node.output[0] else f"{node.name}_grown",
        mode=attribute(node, "mode", b"nearest"),
        coordinate_transformation_mode="asymmetric",
        nearest_mode=nearest,
    )
