"""Small ONNX files as other tools write them, and what plain ONNX Runtime answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def port(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "by_hand", list(inputs), list(outputs), stored)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    made.ir_version = ir
    inferred = onnx.shape_inference.infer_shapes(made).graph.output
    for output, found in zip(made.graph.output, inferred, strict=True):
        output.CopyFrom(found)
    return made


def saved(path: Path, made: onnx.ModelProto) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def plain(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """Answers of the file as it is, nothing optimised."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def rng():
    return np.random.default_rng(0)


def normal(*shape):
    return rng().standard_normal(shape).astype(np.float32)


def batches(*shapes, count=4, scale=1.0):
    random = rng()
    return [
        tuple((scale * random.standard_normal(s)).astype(np.float32) for s in shapes)
        for _ in range(count)
    ]


WEIGHT, BIAS = normal(8, 3, 3, 3), np.linspace(-1, 1, 8, dtype=np.float32)
CONSTANTS = {"w": WEIGHT, "b": BIAS}


def conv(source, result, **attributes):
    attributes = {"pads": [1, 1, 1, 1]} | attributes
    return helper.make_node("Conv", [source, "w", "b"], [result], **attributes)


def one(kind, constants=None, *, source=(2, 3, 8, 8), result=None, opset=17, **attributes):
    """A convolution, then one node of this kind, which may read constants."""
    constants = constants or {}
    nodes = [
        conv("x", "c"),
        helper.make_node(kind, ["c", *constants], ["y"], **attributes),
    ]
    return model(
        nodes, [port("x", source)], [port("y", result)], CONSTANTS | constants, opset=opset
    )


def linear(kind, constants, *, width=6, **attributes):
    """Flattened features and one product with them."""
    nodes = [helper.make_node(kind, ["x", *constants], ["y"], **attributes)]
    return model(nodes, [port("x", [2, width])], [port("y", None)], constants)


def normalised():
    """Pixels of 0 to 1 that the graph itself subtracts a mean from and divides."""
    held = {
        "mean": np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1),
        "std": np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1),
    }
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["m"]),
        helper.make_node("Div", ["m", "std"], ["n"]),
        conv("n", "y"),
    ]
    return model(nodes, [port("x", [2, 3, 8, 8])], [port("y", None)], CONSTANTS | held)


def empty_region(opset=17):
    """A ``Resize`` whose region is an empty constant, as YOLOv5's files have it."""
    nothing = numpy_helper.from_array(np.zeros(0, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["roi"], value=nothing),
        conv("x", "c"),
        helper.make_node(
            "Resize",
            ["c", "roi", "s"],
            ["y"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]
    held = CONSTANTS | {"s": np.array([1, 1, 2, 2], np.float32)}
    return model(nodes, [port("x", [2, 3, 8, 8])], [port("y", None)], held, opset=opset)


def listed(shape=(2, 3, 8, 8), ir=3):
    """Constants named as inputs too, as files of the first ONNX must."""
    ports = [port("x", shape), port("w", WEIGHT.shape), port("b", BIAS.shape)]
    opset = 8 if ir == 3 else 17
    return model([conv("x", "y")], ports, [port("y", None)], CONSTANTS, opset=opset, ir=ir)


def with_function(*, nested=False):
    """A function of the file's own, once or inside another."""
    body = [
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Add", ["r", "a"], ["o"]),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    inner = helper.make_function("mine", "Twist", ["a"], ["o"], body, opsets)
    outer = helper.make_function(
        "mine",
        "Outer",
        ["a"],
        ["o"],
        [helper.make_node("Twist", ["a"], ["o"], domain="mine")],
        opsets,
    )
    called = helper.make_node("Outer" if nested else "Twist", ["c"], ["y"], domain="mine")
    return model(
        [conv("x", "c"), called],
        [port("x", [2, 3, 8, 8])],
        [port("y", None)],
        CONSTANTS,
        functions=[inner, outer] if nested else [inner],
        domains=["mine"],
    )


def split(*, by_input):
    sizes = {"sizes": np.array([3, 5], np.int64)} if by_input else {}
    nodes = [
        conv("x", "c"),
        helper.make_node("Split", ["c", *sizes], ["p", "q"], axis=1),
        helper.make_node("Concat", ["q", "p"], ["y"], axis=1),
    ]
    return model(nodes, [port("x", [2, 3, 8, 8])], [port("y", None)], CONSTANTS | sizes)


def two_inputs():
    nodes = [
        conv("image", "c"),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Concat", ["f", "numbers"], ["y"], axis=1),
        helper.make_node("Relu", ["f"], ["z"]),
    ]
    ports = [port("image", [2, 3, 8, 8]), port("numbers", [2, 4])]
    return model(nodes, ports, [port("y", None), port("z", None)], CONSTANTS)


def scalar_output(batch=1):
    nodes = [conv("x", "c"), helper.make_node("ReduceMean", ["c"], ["y"], keepdims=0)]
    return model(nodes, [port("x", [batch, 3, 8, 8])], [port("y", [])], CONSTANTS)


def classes_output():
    nodes = [
        conv("x", "c"),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("ArgMax", ["m"], ["y"], axis=1),
    ]
    return model(nodes, [port("x", [2, 3, 8, 8])], [port("y", None, TensorProto.INT64)], CONSTANTS)


def resize(kind, mode, scales, opset):
    """``Upsample`` or ``Resize`` alone, as the opset writes it."""
    scales = np.array(scales, np.float32)
    inside = {"scales": scales.tolist()} if opset < 9 else {}
    held = {} if inside else {"s": scales}
    nodes = [helper.make_node(kind, ["x", *held], ["y"], mode=mode, **inside)]
    return model(nodes, [port("x", [2, 4, 6, 7])], [port("y", None)], held, opset=opset, ir=4)


KINDS = {
    "old resize, linear": lambda: resize("Resize", "linear", [1, 1, 2, 2], 10),
    "matmul": lambda: linear("MatMul", {"m": normal(6, 4)}),
    "matmul of a batch": lambda: one("MatMul", {"m": normal(8, 5)}),
    "gemm with factors": lambda: linear(
        "Gemm", {"m": normal(6, 4), "g": normal(4)}, alpha=0.3, beta=2.5
    ),
    "gemm transposed": lambda: linear("Gemm", {"m": normal(4, 6)}, transB=1, alpha=-1.7),
    "gemm of columns": lambda: linear("Gemm", {"m": normal(2, 5)}, width=2, transA=1),
    "gather": lambda: one("Gather", {"i": np.array([5, 0, -1], np.int64)}, axis=1),
    "split by sizes": lambda: split(by_input=True),
    "split in halves": lambda: split(by_input=False),
    "prelu": lambda: one("PRelu", {"slope": normal(8, 1, 1)}),
    "hard sigmoid": lambda: one("HardSigmoid", alpha=0.17, beta=0.4),
    "transposed convolution in groups": lambda: one(
        "ConvTranspose", {"t": normal(8, 3, 3, 3)}, group=4, strides=[2, 2]
    ),
    "convolution in groups": lambda: one("Conv", {"t": normal(4, 2, 3, 3)}, group=4),
    "one axis": lambda: model(
        [helper.make_node("Conv", ["x", "t"], ["y"], dilations=[2])],
        [port("x", [2, 3, 16])],
        [port("y", None)],
        {"t": normal(4, 3, 3)},
    ),
    "normalisation inside": normalised,
    "an empty constant": empty_region,
    "constants listed, IR 3": listed,
    "constants listed, IR 8": lambda: listed(ir=8),
    "a function": with_function,
    "a function in a function": lambda: with_function(nested=True),
    "two inputs and outputs": two_inputs,
    "a number as output": scalar_output,
    "classes as output": classes_output,
    "clip with bounds": lambda: one("Clip", {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "power": lambda: one("Pow", {"two": np.float32(2)}),
    "softmax over an old axis": lambda: one("Softmax", opset=11, axis=1),
    "instance norm": lambda: one("InstanceNormalization", {"g": normal(8), "h": normal(8)}),
}


def data_for(made: onnx.ModelProto, count=4):
    constant = {tensor.name for tensor in made.graph.initializer}
    ports = [value for value in made.graph.input if value.name not in constant]
    shapes = [[dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in ports]
    return batches(*shapes, count=count)
