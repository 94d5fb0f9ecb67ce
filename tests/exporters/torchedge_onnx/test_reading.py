"""ONNX files of strangers: what they say is held against what is there."""

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchedge.errors import ArtifactError
from torchedge_onnx.reading import checked_model
from torchedge_onnx.session import open_model

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def graph(nodes, initializers=(), outputs=("y",)):
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b"]) for name in outputs
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    made = helper.make_graph(list(nodes), "g", [taken], values, list(initializers))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def written(tmp_path):
    def write(model):
        path = tmp_path / "folder" / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    return write


def product(**said):
    """A product with a weight that lies in another file."""
    weight = numpy_helper.from_array(WEIGHT, "w")
    if said:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in said.items():
            weight.external_data.add(key=key, value=value)
    return graph([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight])


def test_data_in_a_file_beside_it_are_read_and_run(written):
    path = written(product(location="data.bin", offset="8", length="48"))
    (path.parent / "data.bin").write_bytes(bytes(8) + WEIGHT.tobytes())
    (answer,) = open_model(path)(np.ones((1, 4), np.float32))
    assert np.array_equal(answer, WEIGHT.sum(0, keepdims=True))


@pytest.mark.parametrize(
    "place", ["../data.bin", "/etc/passwd", "a/../../data.bin", "link", "a\\b"]
)
def test_data_outside_the_folder_are_not_read(written, tmp_path, place):
    (tmp_path / "data.bin").write_bytes(WEIGHT.tobytes())
    path = written(product(location=place))
    (path.parent / "link").symlink_to(tmp_path / "data.bin")
    for opened in (checked_model, open_model):
        with pytest.raises(ArtifactError, match=r"outside the folder|a link"):
            opened(path)


@pytest.mark.parametrize(
    "said", [{"offset": "-8"}, {"offset": str(2**62)}, {"length": str(2**62)}, {"length": "4"}]
)
def test_data_that_are_not_there_are_not_read(written, said):
    path = written(product(location="data.bin", **said))
    (path.parent / "data.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(ArtifactError, match="are named"):
        open_model(path)


@pytest.mark.parametrize("dims", [[4, 4], [2**40, 2**40], [-4, 3], [2**20, 2**12], []])
def test_a_tensor_that_is_not_as_long_as_its_shape_is_refused(written, dims):
    model = product()
    model.graph.initializer[0].dims[:] = dims
    with pytest.raises(ArtifactError, match="the tensor 'w'"):
        open_model(written(model))


def huge(name):
    size = numpy_helper.from_array(np.array([2**31, 4], np.int64), "size")
    if name == "ConstantOfShape":
        return [helper.make_node(name, ["size"], ["y"])], size
    return [helper.make_node(name, ["x", "size"], ["y"])], size


@pytest.mark.parametrize("name", ["Expand", "Tile", "ConstantOfShape"])
def test_a_graph_that_takes_more_memory_than_it_may_is_refused_before_the_runtime_sees_it(
    written, monkeypatch, name
):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("opened"))
    nodes, size = huge(name)
    with pytest.raises(ArtifactError, match=r"takes [0-9,]+ bytes"):
        open_model(written(graph(nodes, [size])))


def test_a_shape_that_a_graph_computes_from_constants_is_followed(written):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "huge"], ["target"]),
        helper.make_node("Expand", ["x", "target"], ["y"]),
    ]
    model = graph(nodes, [numpy_helper.from_array(np.array([2**31, 1]), "huge")])
    with pytest.raises(ArtifactError, match=r"'y' of \[2147483648, 4\]"):
        open_model(written(model))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([2, 1]), "huge"))
    assert open_model(written(model))(np.ones((1, 4), np.float32))[0].shape == (2, 4)


def with_functions(calls):
    model = graph([helper.make_node("f0", ["x"], ["y"], domain="own")])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for name, called in calls.items():
        nodes, value = [], "a"
        for index, other in enumerate(called):
            domain = "own" if other in calls else ""
            nodes.append(helper.make_node(other, [value], [f"b{index}"], domain=domain))
            value = f"b{index}"
        nodes.append(helper.make_node("Identity", [value], ["b"]))
        model.functions.append(helper.make_function("own", name, ["a"], ["b"], nodes, imports))
    model.opset_import.append(imports[1])
    return model


@pytest.mark.parametrize(
    "calls",
    [
        {"f0": ["f0"]},
        {"f0": ["f1"], "f1": ["f0"]},
        {**{f"f{i}": [f"f{i + 1}"] * 10 for i in range(15)}, "f15": ["Relu"]},
    ],
)
def test_functions_that_never_end_or_make_billions_of_nodes_are_refused(written, calls):
    begin = time.monotonic()
    with pytest.raises(ArtifactError, match="functions"):
        open_model(written(with_functions(calls)))
    assert time.monotonic() - begin < 20


def test_functions_that_end_are_run(written):
    path = written(with_functions({"f0": ["Neg", "f1"], "f1": ["Relu"]}))
    assert np.array_equal(open_model(path)(-np.ones((1, 4), np.float32))[0], np.ones((1, 4)))


@pytest.mark.parametrize("domain", ["com.microsoft", "evil", "ai.onnx.ml"])
def test_an_operator_that_is_not_onnxs_own_is_refused(written, domain):
    model = graph([helper.make_node("Gelu", ["x"], ["y"], domain=domain)])
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(ArtifactError, match="no operator of ONNX's own"):
        open_model(written(model))


def test_a_file_in_the_runtimes_own_format_is_not_handed_on_as_onnx(written):
    model = product()
    model.ClearField("ir_version")
    model.ir_version, model.producer_name = 8, "ORTM" + "x" * 12
    assert model.SerializeToString()[4:8] == b"ORTM"
    with pytest.raises(ArtifactError, match="ONNX Runtime's own"):
        open_model(written(model))


def test_the_runtime_gets_a_model_that_was_read_and_not_a_path(written, monkeypatch):
    import onnxruntime

    given, real = [], onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda data, *a, **k: given.append(data) or real(data, *a, **k),
    )
    path = written(product(location="data.bin"))
    (path.parent / "data.bin").write_bytes(WEIGHT.tobytes())
    open_model(path)
    model = onnx.ModelProto.FromString(given[0])
    assert not model.graph.initializer[0].external_data
