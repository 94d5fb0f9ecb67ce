"""Files and data that cannot become an artefact: one error that says which and why."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.exporters.torchedge_onnx import onnx_files as files
from torchedge.cli import main
from torchedge.errors import (
    ArtifactError,
    CalibrationError,
    ExportError,
    TorchedgeError,
    UsageError,
)
from torchedge_onnx import import_model
from torchedge_onnx.foreign_samples import require_usable, samples_for
from torchedge_onnx.foreign_sizes import Input, parsed_sizes
from torchedge_onnx.import_model import import_onnx
from torchedge_tensorrt.host_calibration import calibrate_onnx

X = files.port("x", [2, 3, 8, 8])
SHAPE = [2, 8, 8, 8]


def branch():
    def body(name, kind):
        node = helper.make_node(kind, ["c"], [name])
        return helper.make_graph([node], name, [], [files.port(name, SHAPE)])

    nodes = [
        files.conv("x", "c"),
        helper.make_node(
            "If", ["yes"], ["y"], then_branch=body("p", "Relu"), else_branch=body("q", "Neg")
        ),
    ]
    held = files.CONSTANTS | {"yes": np.array(True)}
    return files.model(nodes, [X], [files.port("y", SHAPE)], held)


def loop():
    ports = [
        files.port("i", [], TensorProto.INT64),
        files.port("go", [], TensorProto.BOOL),
        files.port("before", SHAPE),
    ]
    nodes = [
        helper.make_node("Identity", ["go"], ["on"]),
        helper.make_node("Relu", ["before"], ["after"]),
    ]
    results = [files.port("on", [], TensorProto.BOOL), files.port("after", SHAPE)]
    body = helper.make_graph(nodes, "body", ports, results)
    held = files.CONSTANTS | {"n": np.array(2, np.int64), "yes": np.array(True)}
    looped = helper.make_node("Loop", ["n", "yes", "c"], ["y"], body=body)
    return files.model([files.conv("x", "c"), looped], [X], [files.port("y", SHAPE)], held)


def scan():
    ports, results = [files.port("s", [3, 8, 8])], [files.port("t", [3, 8, 8])]
    body = helper.make_graph([helper.make_node("Relu", ["s"], ["t"])], "body", ports, results)
    node = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    return files.model([node], [X], [files.port("y", [2, 3, 8, 8])])


def of_another_maker():
    node = helper.make_node("FusedConv", ["x", "w", "b"], ["y"], domain="com.microsoft")
    return files.model(
        [node], [X], [files.port("y", [2, 8, 6, 6])], files.CONSTANTS, domains=["com.microsoft"]
    )


def sequence():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(files.FLOAT, [2, 3]))
    node = helper.make_node("ConcatFromSequence", ["x"], ["y"], axis=0)
    value = helper.make_value_info("x", kind)
    return files.model([node], [value], [files.port("y", [4, 3])])


def optional():
    inner = helper.make_tensor_type_proto(files.FLOAT, [2, 3])
    value = helper.make_value_info("x", helper.make_optional_type_proto(inner))
    node = helper.make_node("OptionalGetElement", ["x"], ["y"])
    return files.model([node], [value], [files.port("y", [2, 3])], opset=18)


def sequence_out():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(files.FLOAT, [1, 3, 8, 8]))
    node = helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)
    return files.model([node], [X], [helper.make_value_info("y", kind)])


def of_type(kind):
    ports = [files.port("x", [2, 3], kind)], [files.port("y", [2, 3], kind)]
    return files.model([helper.make_node("Identity", ["x"], ["y"])], *ports)


def by_chance():
    return files.one("RandomNormalLike")


def quantised():
    held = {"scale": np.float32(0.1), "zero": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    return files.model(nodes, [X], [files.port("y", [2, 3, 8, 8])], held)


REFUSED = {
    "If": (branch, UsageError, "If"),
    "Loop": (loop, UsageError, "Loop"),
    "Scan": (scan, UsageError, "Scan"),
    "other maker": (of_another_maker, UsageError, "FusedConv"),
    "sequence": (sequence, UsageError, "input 'x' of .* is a sequence"),
    "optional": (optional, UsageError, "input 'x' of .* is optional"),
    "sequence out": (sequence_out, UsageError, "output 'y' of .* is a sequence"),
    "strings": (lambda: of_type(TensorProto.STRING), UsageError, "input 'x' of .* is STRING"),
    "double": (lambda: of_type(TensorProto.DOUBLE), UsageError, "is DOUBLE, no float32"),
    "half": (lambda: of_type(TensorProto.FLOAT16), UsageError, "is FLOAT16, no float32"),
    "complex": (lambda: of_type(TensorProto.COMPLEX64), UsageError, "is COMPLEX64"),
    "chance": (by_chance, UsageError, "RandomNormalLike and answers otherwise every time"),
    "quantised": (quantised, ArtifactError, "has QuantizeLinear nodes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_float_network_is_refused_by_name(tmp_path, kind):
    make, error, text = REFUSED[kind]
    path = files.saved(tmp_path / "file.onnx", make())
    for refusing in (
        lambda: import_onnx(path, files.batches((2, 3, 8, 8)), tmp_path / "out"),
        lambda: calibrate_onnx(path, files.batches((2, 3, 8, 8))),
    ):
        with pytest.raises(error, match=text):
            refusing()
    assert not (tmp_path / "out").exists()


def test_a_function_of_the_file_hides_no_control_flow(tmp_path):
    inner = branch().graph.node[1]
    body = [inner]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("mine", "Gate", ["c", "yes"], ["y"], body, opsets)
    called = helper.make_node("Gate", ["c", "yes"], ["y"], domain="mine")
    made = files.model(
        [files.conv("x", "c"), called],
        [X],
        [files.port("y", SHAPE)],
        files.CONSTANTS | {"yes": np.array(True)},
        functions=[function],
        domains=["mine"],
    )
    path = files.saved(tmp_path / "file.onnx", made)
    with pytest.raises(UsageError, match="If"):
        import_onnx(path, files.data_for(made), tmp_path / "out")


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (((2, 4), (4,)), r"inputs of .* are \[2, 4\], \[4\]"),
        (((2, 4), ()), r"inputs of .* are \[2, 4\], \[\]"),
        (((2, 4), (1, 4)), r"inputs of .* are \[2, 4\], \[1, 4\]"),
    ],
)
def test_inputs_without_a_common_batch_are_refused(tmp_path, shapes, text):
    ports = [files.port(name, shape) for name, shape in zip("ab", shapes, strict=True)]
    made = files.model(
        [helper.make_node("Add", ["a", "b"], ["y"])], ports, [files.port("y", [2, 4])]
    )
    path = files.saved(tmp_path / "file.onnx", made)
    random = files.rng()
    given = [tuple(random.random(s, np.float32) for s in shapes)] * 2
    given = [tuple(np.asarray(array, np.float32) for array in batch) for batch in given]
    with pytest.raises(UsageError, match=text):
        import_onnx(path, given, tmp_path / "out")


def rows(kind):
    """One network for each way in which an output does not have the batch as its first axis."""
    if kind == "number":
        return files.scalar_output(batch=2)
    if kind == "columns":
        return files.linear("Gemm", {"m": files.normal(2, 5)}, transA=1)
    axis = {"axis": 0} if kind == "joined" else {}
    if axis:
        nodes = [helper.make_node("Concat", ["x", "x"], ["y"], **axis)]
    else:
        nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2, 3])]
    return files.model(nodes, [X], [files.port("y", None)])


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("number", r"\[\]"),
        ("columns", r"\[6, 5\]"),
        ("joined", r"\[4, 3, 8, 8\]"),
        ("turned", r"\[3, 2, 8, 8\]"),
    ],
)
def test_outputs_without_the_batch_are_refused_with_their_shape(tmp_path, kind, shape):
    path = files.saved(tmp_path / "file.onnx", rows(kind))
    with pytest.raises(UsageError, match=f"output 0 of .* is {shape} for 2 samples"):
        import_onnx(path, files.data_for(rows(kind)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_data_that_is_not_finite_is_refused_with_its_batch(tmp_path, wrong):
    made = files.listed()
    data = files.data_for(made)
    data[3][0][1, 2, 3, 4] = wrong
    path = files.saved(tmp_path / "file.onnx", made)
    with pytest.raises(CalibrationError, match="batch 3 holds NaN or infinity for input 0"):
        import_onnx(path, data, tmp_path / "out")
    with pytest.raises(CalibrationError, match="calibration batch 3"):
        calibrate_onnx(path, data)


def test_a_weight_of_nan_is_said_with_the_output(tmp_path):
    made = files.listed()
    weight = files.WEIGHT.copy()
    weight[0, 0, 0, 0] = np.nan
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    path = files.saved(tmp_path / "file.onnx", made)
    with pytest.raises(TorchedgeError, match="NaN or infinity in output 0"):
        import_onnx(path, files.data_for(made), tmp_path / "out")


@pytest.mark.parametrize("command", [["import-onnx"], ["calibration", "create"]])
@pytest.mark.parametrize(
    ("option", "values", "text"),
    [
        ("--std", ["nan", "1", "1"], "--std nan 1 1 divides pixels"),
        ("--std", ["1", "inf", "1"], "--std 1 inf 1"),
        ("--std", ["1", "1", "0"], "--std 1 1 0"),
        ("--std", ["-1", "1", "1"], "--std -1 1 1"),
        ("--mean", ["nan", "0", "0"], "--mean nan 0 0 is not finite"),
        ("--mean", ["0", "-inf", "0"], "--mean 0 -inf 0 is not finite"),
    ],
)
def test_both_commands_refuse_numbers_that_pixels_cannot_be_normalised_with(
    tmp_path, capsys, command, option, values, text
):
    path = files.saved(tmp_path / "file.onnx", files.listed())
    words = [*command, str(path), str(tmp_path), str(tmp_path / "out"), option, *values]
    assert main(words) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_usable_numbers_are_taken():
    require_usable((-0.5, 0.0, 3.0), (1e-3, 1.0, 255.0))


@pytest.mark.parametrize("command", [["import-onnx"], ["calibration", "create"]])
def test_a_file_that_is_missing_or_a_folder_is_one_line(tmp_path, capsys, command):
    for name in ("nothing.onnx", ""):
        words = [*command, str(tmp_path / name), str(tmp_path), str(tmp_path / "out")]
        assert main(words) == 2
        assert "is no file; name an ONNX file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["3x32x", "x3", "0x3", "3x-1", "a=b", "3*3", "", "=", "٣x٣"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="is no size; write 3x32x32"):
        parsed_sizes([text])


def test_a_size_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match="is no size"):
        parsed_sizes(["a=3", "a=4"])


def of_bytes(shape=(None, 3, 8, 8)):
    return (Input(name="x", sizes=shape, dtype="uint8"),)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.full((3, 8, 8), 0.5, np.float32), "from 0.5 to 0.5 for 'x', which takes uint8"),
        (np.full((3, 8, 8), 256, np.int64), "from 256 to 256"),
        (np.full((3, 8, 8), -1, np.int8), "from -1 to -1"),
        (np.zeros((3, 8, 9), np.uint8), r"shape \[3, 8, 9\] for 'x'.* takes \[3, 8, 8\]"),
        (np.full((3, 8, 8), np.nan), "NaN or infinite"),
    ],
)
def test_arrays_that_whole_numbers_cannot_hold_are_refused_with_the_file(tmp_path, array, text):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(CalibrationError, match=text) as error:
        list(samples_for(tmp_path, tmp_path / "file.onnx", of_bytes()))
    assert "a.npy" in str(error.value)


def test_a_graph_that_cannot_be_written_at_opset_18_is_refused(tmp_path):
    """Opset 20 has another word for GridSample's bilinear mode, and ONNX no way back."""
    grid = {"grid": files.rng().uniform(-1, 1, (2, 5, 5, 2)).astype(np.float32)}
    made = files.one("GridSample", grid, opset=20, mode="linear")
    path = files.saved(tmp_path / "file.onnx", made)
    files.plain(path, *files.data_for(made)[0])
    with pytest.raises(ExportError, match="export the network at opset 18"):
        import_onnx(path, files.data_for(made), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_without_an_input_is_refused(tmp_path):
    node = helper.make_node("Relu", ["b"], ["y"])
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    weight = numpy_helper.from_array(np.ones(2, np.float32), "b")
    graph = helper.make_graph([node], "g", [], [value], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="has no input"):
        import_onnx(tmp_path / "none.onnx", [], tmp_path / "out")


def test_samples_that_a_computer_may_not_keep_are_refused_while_they_are_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(import_model, "_MOST_KEPT_BYTES", 100)
    batches = ((np.zeros(16, np.float32),) for _ in range(3))
    with pytest.raises(CalibrationError, match="first 2 batches take 128 bytes"):
        import_onnx(tmp_path / "any.onnx", batches, tmp_path / "out")
