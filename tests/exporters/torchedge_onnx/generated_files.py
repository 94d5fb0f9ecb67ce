"""Small ONNX graphs of any opset from 7 to 21, as a strategy: each node in its opset's own form."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper

from tests.exporters.torchedge_onnx import onnx_files as files

SHAPE = (2, 3, 6, 8)


@dataclass
class Graph:
    """What has been drawn so far; ``shape`` is that of the last value."""

    opset: int
    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shape: tuple[int, ...] = SHAPE
    value: str = "x"

    @property
    def images(self) -> bool:
        return len(self.shape) == 4

    def constant(self, array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def random(self, *shape) -> np.ndarray:
        random = np.random.default_rng(self.seed + len(self.constants))
        return random.standard_normal(shape).astype(np.float32)

    def add(self, kind, *constants, shape=None, **attributes) -> None:
        result = f"v{len(self.nodes)}"
        names = [self.value, *(self.constant(array) for array in constants)]
        self.nodes.append(helper.make_node(kind, names, [result], **attributes))
        self.value, self.shape = result, shape or self.shape


def _conv(draw, graph):
    channels = graph.shape[1]
    groups = draw(st.sampled_from([1, channels]))
    weight = graph.random(2 * channels, channels // groups, 3, 3)
    graph.add(
        "Conv",
        weight,
        graph.random(2 * channels),
        shape=(graph.shape[0], 2 * channels, *graph.shape[2:]),
        group=groups,
        pads=[1, 1, 1, 1],
    )


def _transposed(draw, graph):
    channels = graph.shape[1]
    groups = draw(st.sampled_from([1, channels]))
    height, width = (2 * (size - 1) + 2 for size in graph.shape[2:])
    weight = graph.random(channels, 2, 2, 2)
    shape = (graph.shape[0], 2 * groups, height, width)
    graph.add("ConvTranspose", weight, shape=shape, group=groups, strides=[2, 2])


def _norm(draw, graph):
    channels = graph.shape[1]
    numbers = [graph.random(channels) for _ in range(3)]
    graph.add("BatchNormalization", *numbers, np.abs(graph.random(channels)) + np.float32(0.5))


def _clip(draw, graph):
    low, high = draw(st.sampled_from([(-0.5, 0.5), (0.0, 6.0)]))
    if graph.opset < 11:
        graph.add("Clip", min=low, max=high)
    else:
        graph.add("Clip", np.float32(low), np.float32(high))


def _resize(draw, graph):
    mode = draw(st.sampled_from(["nearest", "linear"]))
    grow = draw(st.sampled_from([(2.0, 2.0), (1.5, 3.0), (0.5, 0.5), (2.0, 0.5), (0.7, 0.6)]))
    scales = np.array([1, 1, *grow], np.float32)
    if graph.opset < 10:
        scales = np.maximum(scales, 1)
    shape = tuple(int(np.floor(s * f)) for s, f in zip(graph.shape, scales, strict=True))
    if min(shape) < 1:
        return
    if graph.opset < 9:
        graph.add("Upsample", shape=shape, mode=mode, scales=scales.tolist())
    elif graph.opset < 11:
        kind = "Upsample" if graph.opset == 9 else "Resize"
        graph.add(kind, scales, shape=shape, mode=mode)
    else:
        place = draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners"]))
        empty = np.zeros(0, np.float32)
        graph.add(
            "Resize", empty, scales, shape=shape, mode=mode, coordinate_transformation_mode=place
        )


def _pool(draw, graph):
    kind = draw(st.sampled_from(["AveragePool", "MaxPool", "LpPool"]))
    if min(graph.shape[2:]) < 2:
        return
    shape = (*graph.shape[:2], *((size - 2) // 2 + 1 for size in graph.shape[2:]))
    graph.add(kind, shape=shape, kernel_shape=[2, 2], strides=[2, 2])


def _global(draw, graph):
    kind = draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"]))
    graph.add(kind, shape=(*graph.shape[:2], 1, 1))


def _mean(draw, graph):
    keep = draw(st.booleans())
    axes = list(range(2, len(graph.shape)))
    if not axes:
        return
    shape = (*graph.shape[:2], *([1] * len(axes) if keep else []))
    if graph.opset < 18:
        graph.add("ReduceMean", shape=shape, axes=axes, keepdims=int(keep))
    else:
        graph.add("ReduceMean", np.array(axes, np.int64), shape=shape, keepdims=int(keep))


def _pad(draw, graph):
    width = draw(st.integers(0, 2))
    mode = draw(st.sampled_from(["constant", "reflect", "edge"]))
    if min(graph.shape[2:]) <= width:
        return
    pads = [0, 0, width, width] * 2
    shape = (*graph.shape[:2], *(size + 2 * width for size in graph.shape[2:]))
    if graph.opset < 11:
        graph.add("Pad", shape=shape, pads=pads, mode=mode)
    else:
        graph.add("Pad", np.array(pads, np.int64), shape=shape, mode=mode)


def _activation(draw, graph):
    kind, attributes = draw(
        st.sampled_from(
            [
                ("Relu", {}),
                ("LeakyRelu", {"alpha": 0.2}),
                ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
                ("Sigmoid", {}),
                ("Tanh", {}),
                ("Elu", {"alpha": 0.7}),
                ("Softplus", {}),
                ("Identity", {}),
                ("Abs", {}),
                ("Exp", {}),
                ("Softsign", {}),
            ]
        )
    )
    graph.add(kind, **attributes)


def _softmax(draw, graph):
    graph.add(draw(st.sampled_from(["Softmax", "LogSoftmax"])), axis=1)


def _arithmetic(draw, graph):
    kind = draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    shape = (graph.shape[1], *[1] * (len(graph.shape) - 2))
    by = graph.random(*draw(st.sampled_from([(), shape])))
    graph.add(kind, np.abs(by) + np.float32(0.5))


def _prelu(draw, graph):
    graph.add("PRelu", graph.random(graph.shape[1], *[1] * (len(graph.shape) - 2)))


def _flatten(draw, graph):
    shape = (graph.shape[0], int(np.prod(graph.shape[1:])))
    if draw(st.booleans()):
        graph.add("Flatten", shape=shape, axis=1)
    else:
        graph.add("Reshape", np.array([0, -1], np.int64), shape=shape)


def _linear(draw, graph):
    width, wanted = graph.shape[-1], draw(st.integers(1, 4))
    shape = (*graph.shape[:-1], wanted)
    if len(graph.shape) == 2 and draw(st.booleans()):
        turned = draw(st.booleans())
        weight = graph.random(*((wanted, width) if turned else (width, wanted)))
        factors = {"alpha": draw(st.sampled_from([1.0, 0.3])), "beta": 2.0}
        graph.add("Gemm", weight, graph.random(wanted), shape=shape, transB=int(turned), **factors)
    else:
        graph.add("MatMul", graph.random(width, wanted), shape=shape)


def _move(draw, graph):
    order = [0, *draw(st.permutations(range(1, len(graph.shape))))]
    graph.add("Transpose", shape=tuple(graph.shape[a] for a in order), perm=order)


def _unsqueeze(draw, graph):
    if len(graph.shape) != 2:
        return
    if graph.opset < 13:
        graph.add("Unsqueeze", shape=(*graph.shape, 1, 1), axes=[2, 3])
    else:
        graph.add("Unsqueeze", np.array([2, 3], np.int64), shape=(*graph.shape, 1, 1))


def _gather(draw, graph):
    axis = draw(st.integers(1, len(graph.shape) - 1))
    picked = np.array([graph.shape[axis] - 1, 0], np.int64)
    shape = (*graph.shape[:axis], 2, *graph.shape[axis + 1 :])
    graph.add("Gather", picked, shape=shape, axis=axis)


def _doubled(draw, graph):
    axis = draw(st.integers(1, len(graph.shape) - 1))
    result = f"v{len(graph.nodes)}"
    graph.nodes.append(helper.make_node("Concat", [graph.value] * 2, [result], axis=axis))
    sizes = list(graph.shape)
    sizes[axis] *= 2
    graph.value, graph.shape = result, tuple(sizes)


_IMAGES = (_conv, _transposed, _norm, _resize, _resize, _pool, _global, _pad)
_ANY = (
    *(_clip, _mean, _activation, _softmax, _arithmetic, _prelu, _flatten, _linear, _move),
    *(_unsqueeze, _gather, _doubled),
)


@st.composite
def generated(draw) -> onnx.ModelProto:
    """A file: its opset, IR, listed constants, open sizes and one to five nodes are drawn."""
    graph = Graph(opset=draw(st.integers(7, 21)), seed=draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(1, 5))):
        draw(st.sampled_from((*_IMAGES, *_ANY) if graph.images else _ANY))(draw, graph)
    if not graph.nodes:
        graph.add("Relu")
    first = draw(st.sampled_from([SHAPE[0], "n", -1]))
    ports = [files.port("x", [first, *SHAPE[1:]])]
    if draw(st.booleans()):
        kinds = {
            name: helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in graph.constants.items()
        }
        ports += [files.port(n, a.shape, kinds[n]) for n, a in graph.constants.items()]
        ir = draw(st.sampled_from([3, 7])) if graph.opset < 9 else 8
    else:
        ir = 8
    shape = [first if size == SHAPE[0] else size for size in graph.shape[:1]]
    result = files.port(graph.value, [*shape, *graph.shape[1:]])
    return files.model(graph.nodes, ports, [result], graph.constants, opset=graph.opset, ir=ir)
