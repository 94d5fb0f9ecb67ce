"""ONNX and TFLite files that lead a runtime outside, or to take all memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.hostile_inputs.sealing import resealed

__all__ = ["onnx_files", "tflite_files"]

_Make: TypeAlias = Callable[[Path, Path], None]


def onnx_files() -> Iterator[tuple[str, _Make]]:
    """Each with its name, as a change of an artefact of format onnx."""
    for place in ("../outside/secret.bin", "/etc/hostname", "link", "missing", "a\0b"):
        yield f"external data in {place!r}", _external(place)
    yield "external data far behind", _external("inside", offset="9" * 18)
    yield "external data of exabytes", _external("inside", length="9" * 18)
    yield "external data of no length", _external("inside", offset="-8")
    yield "raw data too short", _model(lambda m: _shaped(m, [2**20, 2**10]))
    yield "sizes that overflow", _model(lambda m: _shaped(m, [2**40, 2**40]))
    yield "negative size", _model(lambda m: _shaped(m, [-1]))
    for name in ("ConstantOfShape", "Expand", "Tile"):
        yield f"{name} of 32 GB", _model(lambda m, name=name: _grown(m, name))
    yield "random of 32 GB", _model(lambda m: _random(m, [2**33]))
    yield "functions that call themselves", _model(_recursive)
    yield "functions that multiply", _model(_multiplying)
    yield "operator of another library", _model(lambda m: _domain(m, "com.microsoft"))
    yield "operator of nobody", _model(lambda m: _domain(m, "evil"))
    yield "loop without end", _model(_loop)
    yield "file of ONNX Runtime's own", _model(_own_format)
    yield "output of escape sequences", _model(_escape)
    yield "wrong first byte", lambda f, o: _raw(f, _model_of(f), b"\xff" * 64)
    yield "empty file", lambda f, o: _raw(f, _model_of(f), b"")


def tflite_files() -> Iterator[tuple[str, _Make]]:
    """Each with its name, as a change of an artefact of format tflite or tflite-micro."""
    yield "huge activation", _flat(lambda m: _tensor_shape(m, [1, 2**15, 2**15, 8]))
    yield "negative size", _flat(lambda m: _tensor_shape(m, [1, -8, 8, 8]))
    yield "input that is nowhere", _flat(lambda m: _first(m).__setattr__("inputs", [9_999, 1, 2]))
    yield "output that is a weight", _flat(lambda m: _first(m).__setattr__("outputs", [1]))
    yield "buffer that is nowhere", _flat(lambda m: _weight(m).__setattr__("buffer", 9_999))
    yield "custom operator", _flat(_custom)
    yield "operator code that is nowhere", _flat(lambda m: _first(m).__setattr__("opcodeIndex", 99))
    yield "strides of zero", _flat(_strides)
    yield "two graphs", _flat(lambda m: m.subgraphs.append(m.subgraphs[0]))
    yield "data outside", _flat(lambda m: m.buffers[1].__setattr__("offset", 2**40))
    yield "signature that is nowhere", _flat(_signature)
    yield "cycle", _flat(_cycle)
    yield "empty file", lambda f, o: _raw(f, "model.tflite", b"")
    yield (
        "offsets outside",
        lambda f, o: _raw(f, "model.tflite", b"\xf0\xff\xff\x7fTFL3" + bytes(64)),
    )
    yield "identifier only", lambda f, o: _raw(f, "model.tflite", bytes(4) + b"TFL3" + bytes(8))
    yield "shared table", _shared_tables


def _raw(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    resealed(folder)


def _model_of(folder: Path) -> str:
    """The ONNX file that a runner opens."""
    return "model_qdq.onnx" if (folder / "model_qdq.onnx").exists() else "model.onnx"


def _model(change: Callable[[Any], object]) -> _Make:
    def make(folder: Path, _: Path) -> None:
        import onnx

        path = folder / _model_of(folder)
        model = onnx.ModelProto.FromString(path.read_bytes())
        change(model)
        _raw(folder, path.name, model.SerializeToString())

    return make


def _external(place: str, **said: str) -> _Make:
    def make(folder: Path, outside: Path) -> None:
        (outside / "secret.bin").write_bytes(bytes(4096))
        (folder / "link").symlink_to(outside / "secret.bin")
        (folder / "inside").write_bytes(bytes(4096))
        _model(lambda m: _point(m, place, said))(folder, outside)

    return make


def _point(model: Any, place: str, said: dict[str, str]) -> None:
    from onnx import StringStringEntryProto, TensorProto

    for tensor in model.graph.initializer[:2]:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": place, **said}
        tensor.external_data.extend(
            StringStringEntryProto(key=key, value=value) for key, value in entries.items()
        )


def _shaped(model: Any, dims: list[int]) -> None:
    model.graph.initializer[0].dims[:] = dims


def _grown(model: Any, name: str) -> None:
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    size = np.array([2**33] if name == "ConstantOfShape" else [2**25, 1, 1, 1], np.int64)
    graph.initializer.append(numpy_helper.from_array(size, "huge_size"))
    taken = [] if name == "ConstantOfShape" else [graph.input[0].name]
    graph.node.insert(0, helper.make_node(name, [*taken, "huge_size"], ["huge"], "grown"))
    graph.node.insert(1, helper.make_node("ReduceMax", ["huge"], ["most"], "most", keepdims=0))
    graph.node.insert(2, helper.make_node("Add", [graph.input[0].name, "most"], ["moved"], "add"))
    graph.node[3].input[0] = "moved"


def _random(model: Any, shape: list[int]) -> None:
    from onnx import helper

    model.graph.node.insert(0, helper.make_node("RandomNormal", [], ["huge"], "r", shape=shape))


def _recursive(model: Any) -> None:
    _functions(model, {"f0": ["f0"]})


def _multiplying(model: Any) -> None:
    _functions(model, {f"f{i}": [f"f{i + 1}"] * 10 for i in range(12)})


def _functions(model: Any, calls: dict[str, list[str]]) -> None:
    from onnx import helper

    for name, called in calls.items():
        nodes, value = [], "x"
        for index, other in enumerate(called):
            known = other in calls
            kind, domain = (other, "own") if known else ("Relu", "")
            nodes.append(helper.make_node(kind, [value], [f"y{index}"], domain=domain))
            value = f"y{index}"
        nodes.append(helper.make_node("Identity", [value], ["y"]))
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", name, ["x"], ["y"], nodes, imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("f0", [first.input[0]], ["called"], domain="own"))
    model.graph.node[1].input[0] = "called"


def _domain(model: Any, domain: str) -> None:
    from onnx import helper

    model.opset_import.append(helper.make_opsetid(domain, 1))
    model.graph.node[0].domain = domain


def _loop(model: Any) -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "turns"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.insert(0, helper.make_node("Loop", ["turns", "always"], [], "l", body=body))


def _own_format(model: Any) -> None:
    model.producer_name = "ORTM" + "x" * 20


def _escape(model: Any) -> None:
    from onnx import helper

    name = "\x1b[2Jclear"
    model.graph.node.append(helper.make_node("Identity", [model.graph.output[0].name], [name]))
    model.graph.output[0].name = name


def _flat(change: Callable[[Any], object]) -> _Make:
    def make(folder: Path, _: Path) -> None:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        path = folder / "model.tflite"
        model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
        change(model)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        _raw(folder, path.name, bytes(builder.Output()))

    return make


def _first(model: Any) -> Any:
    return model.subgraphs[0].operators[0]


def _weight(model: Any) -> Any:
    return model.subgraphs[0].tensors[_first(model).inputs[1]]


def _tensor_shape(model: Any, shape: list[int]) -> None:
    tensor = model.subgraphs[0].tensors[_first(model).outputs[0]]
    tensor.shape, tensor.shapeSignature = shape, None


def _custom(model: Any) -> None:
    code = model.operatorCodes[_first(model).opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"Evil"


def _strides(model: Any) -> None:
    for operator in model.subgraphs[0].operators:
        options = operator.builtinOptions
        if options is not None and hasattr(options, "strideW"):
            options.strideW = options.strideH = 0


def _signature(model: Any) -> None:
    model.signatureDefs[0].inputs[0].tensorIndex = 9_999


def _cycle(model: Any) -> None:
    first, second = model.subgraphs[0].operators[:2]
    first.inputs = [second.outputs[0], *first.inputs[1:]]


def _shared_tables(folder: Path, _: Path) -> None:
    """A list of a million entries that all lead to one graph."""
    data = bytearray((folder / "model.tflite").read_bytes())
    _raw(folder, "model.tflite", bytes(data[:8]) + b"\x04\x00\x00\x00" * 1_000_000)
