"""Transposed convolutions as plain ones, because only those have integer kernels."""

from dataclasses import dataclass
from itertools import product
from typing import Any, final

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

__all__ = ["subpixel_convolutions"]

_MOVES_THROUGH = frozenset({"Relu", "Clip", "QuantizeLinear", "DequantizeLinear"})


@final
@dataclass(frozen=True, kw_only=True)
class _Geometry:
    """How a transposed convolution lies in space, along height and width."""

    stride: int
    padding: tuple[int, int]
    source: tuple[int, int]
    result: tuple[int, int]


def subpixel_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write a transposed convolution as a convolution whose channels are then laid out in space.

    With stride ``s`` each of the ``s × s`` output phases is a convolution of its own; one with
    ``s²`` times the channels computes them all, and ``DepthToSpace`` interleaves them (Shi et al.
    2016). A ReLU and a quantiser behind it move in front of ``DepthToSpace``, which only moves
    values; the quantiser is repeated after it for the next reader. For quantised, two-dimensional
    ones without groups and dilation; others stay as they are.
    """
    copy = copied(model)
    for node in [n for n in copy.graph.node if n.op_type == "ConvTranspose"]:
        values, made_by = constants(copy), producers(copy)
        weight = made_by.get(node.input[1])
        geometry = _geometry(node, tensor_shapes(copy))
        if geometry is not None and weight is not None and weight.input[0] in values:
            _rewrite(copy, node, geometry, values)
    remove_unused(copy)
    return copy


def _integers(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    found: Any = attribute(node, name, default)
    return [int(value) for value in found]


def _geometry(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> _Geometry | None:
    strides = set(_integers(node, "strides", [1, 1]))
    dilated = set(_integers(node, "dilations", [1, 1])) != {1}
    if dilated or attribute(node, "group", 1) != 1 or len(strides) != 1:
        return None
    if len(shapes[node.input[1]]) != 4:
        return None
    top, left = _integers(node, "pads", [0, 0, 0, 0])[:2]
    source, result = shapes[node.input[0]], shapes[node.output[0]]
    return _Geometry(
        stride=strides.pop(),
        padding=(top, left),
        source=(source[2], source[3]),
        result=(result[2], result[3]),
    )


def _rewrite(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    geometry: _Geometry,
    values: dict[str, Constant],
) -> None:
    made_by, name = producers(model), node.output[0]
    kernel = _kernel_of_phases(values[made_by[node.input[1]].input[0]], geometry.stride)
    phases = geometry.stride**2
    weight = _for_phases(model, made_by[node.input[1]], kernel, phases, f"{name}_subpixel_weight")
    inputs = [node.input[0], weight]
    if len(node.input) > 2 and node.input[2]:
        bias = made_by[node.input[2]]
        repeated = np.tile(values[bias.input[0]], phases)
        inputs.append(_for_phases(model, bias, repeated, phases, f"{name}_subpixel_bias"))
    chain = _pointwise_chain(model, node)
    result = chain[-1].output[0] if chain else name
    convolution = helper.make_node(
        "Conv", inputs, [f"{name}_phases"], name=node.name, pads=_pads(kernel, geometry)
    )
    moved = _on_phases(chain, f"{name}_phases")
    source = moved[-1].output[0] if moved else f"{name}_phases"
    laid_out = _laid_out(model, source, result, chain, geometry)
    replace_node(model, node, [convolution, *moved, *laid_out])
    for old in chain:
        model.graph.node.remove(old)


def _kernel_of_phases(weight: Constant, stride: int) -> Constant:
    """One kernel for all phases, those of phase ``(r, c)`` together.

    The transposed convolution adds ``x[i]·w[k]`` to ``o = s·i + k - p``. With ``k = s·j + r`` and
    ``o + p = s·q + r`` that is ``i = q - j``: a convolution with the taps ``j`` in reverse order.
    """
    inputs, outputs, *kernel = weight.shape
    taps = [-(-size // stride) for size in kernel]
    phases = np.zeros((stride, stride, outputs, inputs, *taps), weight.dtype)
    for row, column in product(range(stride), repeat=2):
        part = weight[:, :, row::stride, column::stride].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        height, width = part.shape[2:]
        phases[row, column, :, :, taps[0] - height :, taps[1] - width :] = part
    return phases.reshape(-1, inputs, *taps)


def _pads(kernel: Constant, geometry: _Geometry) -> list[int]:
    before = [size - 1 for size in kernel.shape[2:]]
    sizes = zip(geometry.result, geometry.padding, geometry.source, strict=True)
    after = [
        max(0, -(-(result + pad) // geometry.stride) - source) for result, pad, source in sizes
    ]
    return [*before, *after]


def _for_phases(
    model: onnx.ModelProto, dequantizer: onnx.NodeProto, integers: Constant, phases: int, name: str
) -> str:
    """A dequantised constant whose scales repeat for each phase; its name."""
    values = constants(model)
    repeated = [
        np.tile(found, phases) if found.ndim else found
        for found in (values[parameter] for parameter in dequantizer.input[1:3])
    ]
    names = [f"{name}_integers", f"{name}_scale", f"{name}_zeros"]
    for constant_name, array in zip(names, (integers, *repeated), strict=True):
        add_constant(model, constant_name, array)
    node = helper.make_node("DequantizeLinear", names, [name], name=name, axis=0)
    model.graph.node.insert(list(model.graph.node).index(dequantizer), node)
    return name


def _pointwise_chain(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """ReLU and quantiser behind a node, as far as each is the only reader."""
    chain: list[onnx.NodeProto] = []
    outputs = {output.name for output in model.graph.output}
    tensor = node.output[0]
    while not (chain and chain[-1].op_type == "DequantizeLinear") and tensor not in outputs:
        readers = [n for n in model.graph.node if tensor in n.input]
        if len(readers) != 1 or readers[0].op_type not in _MOVES_THROUGH:
            break
        chain.append(readers[0])
        tensor = readers[0].output[0]
    if chain and chain[-1].op_type == "QuantizeLinear":
        del chain[-1]  # half a quantiser stays where it is
    return chain


def _on_phases(chain: list[onnx.NodeProto], source: str) -> list[onnx.NodeProto]:
    moved = []
    for node in chain:
        moved.append(_connected(node, source, f"{node.output[0]}_phases", node.name))
        source = moved[-1].output[0]
    return moved


def _connected(node: onnx.NodeProto, source: str, result: str, name: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[0], copy.output[0], copy.name = source, result, name
    return copy


def _laid_out(
    model: onnx.ModelProto,
    source: str,
    result: str,
    chain: list[onnx.NodeProto],
    geometry: _Geometry,
) -> list[onnx.NodeProto]:
    """``DepthToSpace``, the crop to the result's place, and the quantiser once more."""
    quantizers = chain[-2:] if chain and chain[-1].op_type == "DequantizeLinear" else []
    plain = f"{result}_plain" if quantizers else result
    space = f"{result}_space"
    nodes = [
        helper.make_node(
            "DepthToSpace", [source], [space], name=space, blocksize=geometry.stride, mode="DCR"
        ),
        _crop(model, space, plain, geometry),
    ]
    for node, target in zip(quantizers, (f"{result}_integers_again", result), strict=False):
        nodes.append(_connected(node, plain, target, f"{target}_{node.op_type}"))
        plain = target
    return nodes


def _crop(model: onnx.ModelProto, source: str, result: str, geometry: _Geometry) -> onnx.NodeProto:
    ends = [p + size for p, size in zip(geometry.padding, geometry.result, strict=True)]
    names = [f"{result}_{part}" for part in ("starts", "ends", "axes")]
    for name, array in zip(names, (geometry.padding, ends, (2, 3)), strict=True):
        add_constant(model, name, np.array(array, np.int64))
    return helper.make_node("Slice", [source, *names], [result], name=f"{result}_crop")
