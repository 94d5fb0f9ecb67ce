"""Rewrites into forms that integer kernels exist for; what is computed stays as it is."""

from itertools import product

import numpy as np
import onnx
from onnx import helper, numpy_helper

from torchedge_onnx.graph import (
    attribute,
    constants,
    copied,
    producers,
    remove_unused,
    tensor_shapes,
)

__all__ = ["fold_padding", "subpixel_convolutions", "transpose_weights"]


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
        _add_constant(copy, integers, values[dequantizer.input[0]].transpose(order))
        axis = order.index(int(str(attribute(dequantizer, "axis", 1))) % len(order))
        inputs = [integers, *dequantizer.input[1:]]
        dequantized = helper.make_node(
            "DequantizeLinear", inputs, list(node.output), name=node.name, axis=axis
        )
        _replace(copy, node, [dequantized])
    remove_unused(copy)
    return copy


def fold_padding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a convolution pad with zeros itself, instead of reading what a ``Pad`` wrote."""
    copy = copied(model)
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


def _zero_padding(
    pad: onnx.NodeProto, values: dict[str, np.ndarray], rank: int
) -> list[int] | None:
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


def subpixel_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write a transposed convolution as a convolution whose channels are then laid out in space.

    With stride ``s`` each of the ``s × s`` output phases is a convolution of its own; one with
    ``s²`` times the channels computes them all, and ``DepthToSpace`` interleaves them (Shi et al.
    2016). Quantisers behind it move in front of ``DepthToSpace``, which only moves values, and are
    repeated after it for the next reader. Two-dimensional ones without groups and dilation.
    """
    copy = copied(model)
    for node in [n for n in copy.graph.node if n.op_type == "ConvTranspose"]:
        values, shapes = constants(copy), tensor_shapes(copy)
        if _is_plain_transposed(node, shapes):
            _write_subpixel(copy, node, values, shapes)
    remove_unused(copy)
    return copy


def _is_plain_transposed(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    strides = list(attribute(node, "strides", [1, 1]))  # type: ignore[call-overload]
    dilations = list(attribute(node, "dilations", [1, 1]))  # type: ignore[call-overload]
    plain = attribute(node, "group", 1) == 1 and set(dilations) == {1}
    return plain and len(shapes[node.input[1]]) == 4 and len(set(strides)) == 1


def _write_subpixel(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    values: dict[str, np.ndarray],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    made_by = producers(model)
    stride = int(list(attribute(node, "strides", [1, 1]))[0])  # type: ignore[call-overload]
    dequantizer = made_by.get(node.input[1])
    if dequantizer is None or dequantizer.input[0] not in values:
        return
    rearranged, pads, crops = _phases(
        values[dequantizer.input[0]], stride, node, shapes[node.input[0]], shapes[node.output[0]]
    )
    weight = _repeated(
        model, dequantizer, values, rearranged, stride**2, axis=0, name=f"{node.output[0]}_subpixel_weight"
    )
    inputs = [node.input[0], weight]
    if len(node.input) > 2 and node.input[2]:
        bias = made_by[node.input[2]]
        repeated = np.tile(values[bias.input[0]], stride**2)
        inputs.append(
            _repeated(
                model, bias, values, repeated, stride**2, axis=0, name=f"{node.output[0]}_subpixel_bias"
            )
        )
    chain = _pointwise_chain(model, node)
    end = chain[-1].output[0] if chain else node.output[0]
    phases, laid_out = f"{node.output[0]}_phases", f"{end}_laid_out"
    convolution = helper.make_node("Conv", inputs, [phases], name=node.name, pads=pads)
    moved = _on_phases(chain, phases)
    last = moved[-1].output[0] if moved else phases
    shuffle = helper.make_node(
        "DepthToSpace", [last], [laid_out], name=f"{node.name}_space", blocksize=stride, mode="DCR"
    )
    after = [shuffle, *_cropped(model, laid_out, end, crops)]
    if len(chain) > 1 and chain[-1].op_type == "DequantizeLinear":
        after = [shuffle, *_cropped(model, laid_out, f"{end}_plain", crops)]
        after += _again(chain[-2:], f"{end}_plain", end)
    _replace(model, node, [convolution, *moved, *after])
    for old in chain:
        model.graph.node.remove(old)


def _phases(
    weight: np.ndarray,
    stride: int,
    node: onnx.NodeProto,
    source: tuple[int, ...],
    result: tuple[int, ...],
) -> tuple[np.ndarray, list[int], list[tuple[int, int]]]:
    """Kernel of all phases, its pads, and where the result lies in what ``DepthToSpace`` writes.

    Output ``o = s·q + r - p`` of the transposed convolution sums ``x[i]·w[k]`` over ``k = s·j + r``
    and ``i = q - j``: phase ``r`` is a convolution with taps ``j`` in reverse order.
    """
    inputs, outputs, *kernel = weight.shape
    taps = [-(-size // stride) for size in kernel]
    phases = np.zeros((stride, stride, outputs, inputs, *taps), weight.dtype)
    for (row, r), (column, c) in product(enumerate(range(stride)), enumerate(range(stride))):
        part = weight[:, :, r::stride, c::stride].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        height, width = part.shape[2:]
        phases[row, column, :, :, taps[0] - height :, taps[1] - width :] = part
    padding = list(attribute(node, "pads", [0, 0, 0, 0]))[:2]  # type: ignore[call-overload]
    needed = [-(-(result[2 + d] + padding[d]) // stride) for d in range(2)]
    after = [max(0, needed[d] - source[2 + d]) for d in range(2)]
    crops = [(padding[d], padding[d] + result[2 + d]) for d in range(2)]
    return phases.reshape(-1, inputs, *taps), [taps[0] - 1, taps[1] - 1, *after], crops


def _repeated(
    model: onnx.ModelProto,
    dequantizer: onnx.NodeProto,
    values: dict[str, np.ndarray],
    integers: np.ndarray,
    times: int,
    *,
    axis: int,
    name: str,
) -> str:
    """A dequantised constant whose scales repeat for each phase; its name."""
    constant_names = [f"{name}_integers", f"{name}_scale", f"{name}_zeros"]
    scale, zero = (values[n] for n in dequantizer.input[1:3])
    arrays = [integers, *(np.tile(v, times) if v.ndim else v for v in (scale, zero))]
    for constant_name, array in zip(constant_names, arrays, strict=True):
        _add_constant(model, constant_name, np.ascontiguousarray(array))
    node = helper.make_node("DequantizeLinear", constant_names, [name], name=name, axis=axis)
    model.graph.node.insert(list(model.graph.node).index(dequantizer), node)
    return name


def _pointwise_chain(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """ReLU and quantiser behind a node, as far as each is the only reader."""
    chain: list[onnx.NodeProto] = []
    current = node
    while True:
        readers = [n for n in model.graph.node if current.output[0] in n.input]
        expected = {"Relu", "Clip", "QuantizeLinear", "DequantizeLinear"}
        if len(readers) != 1 or readers[0].op_type not in expected:
            return chain
        if readers[0].input[0] != current.output[0] or (
            chain and chain[-1].op_type == "DequantizeLinear"
        ):
            return chain
        current = readers[0]
        chain.append(current)


def _on_phases(chain: list[onnx.NodeProto], source: str) -> list[onnx.NodeProto]:
    moved = []
    for node in chain:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0], copy.output[0] = source, f"{node.output[0]}_phases"
        source = copy.output[0]
        moved.append(copy)
    return moved


def _again(pair: list[onnx.NodeProto], source: str, result: str) -> list[onnx.NodeProto]:
    """The same quantiser once more: its input is on the grid already."""
    copies = []
    for node in pair:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{node.name}_again"
        copies.append(copy)
    copies[0].input[0], copies[0].output[0] = source, f"{result}_integers_again"
    copies[1].input[0], copies[1].output[0] = copies[0].output[0], result
    return copies


def _cropped(
    model: onnx.ModelProto, source: str, result: str, crops: list[tuple[int, int]]
) -> list[onnx.NodeProto]:
    names = [f"{result}_{part}" for part in ("starts", "ends", "axes")]
    arrays = ([c[0] for c in crops], [c[1] for c in crops], [2, 3])
    for name, array in zip(names, arrays, strict=True):
        _add_constant(model, name, np.array(array, np.int64))
    return [helper.make_node("Slice", [source, *names], [result], name=f"{result}_crop")]


def _add_constant(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))


def _set_attribute(node: onnx.NodeProto, name: str, value: list[int]) -> None:
    kept = [found for found in node.attribute if found.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _replace(model: onnx.ModelProto, old: onnx.NodeProto, new: list[onnx.NodeProto]) -> None:
    index = list(model.graph.node).index(old)
    model.graph.node.remove(old)
    for offset, node in enumerate(new):
        model.graph.node.insert(index + offset, node)


