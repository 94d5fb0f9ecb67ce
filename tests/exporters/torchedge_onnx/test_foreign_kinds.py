"""What other tools write into ONNX files, imported: the answers are the file's own."""

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.exporters.torchedge_onnx import onnx_files as files
from torchedge.errors import ExportError, TorchedgeError, UsageError, VerificationError
from torchedge.exporting import load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge_onnx import foreign_graph, same_answers
from torchedge_onnx.import_model import import_onnx
from torchedge_onnx.runner import OnnxRunner
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE


def imported(tmp_path, made, data=None):
    """The artefact, and the file's own answers to the batches for checks."""
    path = files.saved(tmp_path / "file.onnx", made)
    data = data or files.data_for(made)
    artifact = import_onnx(path, data, tmp_path / "out")
    return artifact, [files.plain(path, *batch) for batch in data[::4]]


def require_same(artifact, wanted):
    samples = load_samples(artifact.file(SAMPLES_FILE))
    size = artifact.inputs[0].shape[0]
    with OnnxRunner().open(load_artifact(artifact.path)) as session:
        for batch, answers in zip(samples.batches(size), wanted, strict=True):
            for found, answer in zip(session(*batch), answers, strict=True):
                assert found.shape == answer.shape
                assert found.dtype == answer.dtype
                largest = np.abs(answer).max() if answer.dtype.kind == "f" else 0
                np.testing.assert_allclose(found, answer, atol=1e-5 * largest, rtol=0)
    for place, kept in enumerate(samples.expected):
        joined = np.concatenate([np.atleast_1d(answers[place]) for answers in wanted])
        np.testing.assert_array_equal(kept, joined)


@pytest.mark.parametrize("kind", files.KINDS)
def test_an_imported_file_answers_as_it_does_in_plain_onnx_runtime(tmp_path, kind):
    require_same(*imported(tmp_path, files.KINDS[kind]()))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("kind", "opset", "scales"),
    [
        ("Resize", 10, [1, 1, 2, 2]),
        ("Resize", 10, [1, 1, 0.5, 0.5]),
        ("Resize", 10, [1, 1, 0.43, 0.7]),
        ("Resize", 10, [1, 1, 2.3, 0.6]),
        ("Upsample", 9, [1, 1, 2, 2]),
        ("Upsample", 9, [1, 1, 1.7, 2.3]),
        ("Upsample", 7, [1, 1, 3, 2]),
    ],
)
def test_resizing_of_before_opset_11_samples_where_it_did(tmp_path, kind, opset, scales, mode):
    require_same(*imported(tmp_path, files.resize(kind, mode, scales, opset)))


def test_the_converter_alone_would_sample_elsewhere():
    old = files.resize("Resize", "linear", [1, 1, 2, 2], 10)
    lifted = onnx.version_converter.convert_version(old, 18)
    new = foreign_graph.at_opset("file.onnx", old, 18)
    (node,) = [n for n in new.graph.node if n.op_type == "Resize"]
    modes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert modes["coordinate_transformation_mode"] == b"asymmetric"
    kept = {a.name for n in lifted.graph.node for a in n.attribute if n.op_type == "Resize"}
    assert "coordinate_transformation_mode" not in kept


@pytest.mark.parametrize(("kind", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
def test_the_name_of_a_resized_value_stays_where_other_nodes_read_it(kind, opset):
    """The converter gives what ``Upsample`` writes another name."""
    old = files.resize(kind, "linear", [1, 1, 2, 2], opset)
    old.graph.node[0].output[0] = "inner"
    old.graph.node.append(helper.make_node("Relu", ["inner"], ["y"]))
    new = foreign_graph.at_opset("file.onnx", old, 13)
    assert [n.output[0] for n in new.graph.node if n.op_type == "Resize"] == ["inner"]
    assert {o.domain for o in new.opset_import} == {""}


def test_a_rewrite_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    def converted(path, model, opset):
        return onnx.version_converter.convert_version(model, opset)

    monkeypatch.setattr(foreign_graph, "at_opset", converted)
    with pytest.raises(ExportError, match="answers batch 0 otherwise: output 0 is off by"):
        imported(tmp_path, files.resize("Resize", "linear", [1, 1, 2, 2], 10))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", ["weight", "bias", "shape", "type"])
def test_a_graph_that_is_another_by_a_thousandth_is_refused(tmp_path, change):
    path = files.saved(tmp_path / "file.onnx", files.listed())
    data = files.data_for(files.listed())
    wanted = same_answers.file_answers(path, data)
    plain = open_model(path)
    changes = {
        "weight": lambda answer: answer * np.float32(1.001),
        "bias": lambda answer: answer + np.float32(0.01),
        "shape": lambda answer: answer[:, :4],
        "type": lambda answer: answer.astype(np.float64),
    }
    same_answers.require_same_answers(path, plain, data, wanted)
    with pytest.raises(ExportError):
        same_answers.require_same_answers(
            path, lambda *x: (changes[change](plain(*x)[0]),), data, wanted
        )


def test_a_sum_in_another_order_is_rounding(tmp_path):
    """Wide products: another order of n terms differs by about sqrt(n) steps."""
    width = 4096
    weight = files.normal(width, 3)
    path = files.saved(tmp_path / "file.onnx", files.linear("MatMul", {"m": weight}, width=width))
    data = files.batches((2, width))
    wanted = same_answers.file_answers(path, data)

    def backwards(x):
        return (np.cumsum(x[:, ::-1, None] * weight[::-1], axis=1, dtype=np.float32)[:, -1],)

    pairs = zip(data, wanted, strict=True)
    assert any(np.any(backwards(*x)[0] != answers[0]) for x, answers in pairs)
    same_answers.require_same_answers(path, backwards, data, wanted)


def test_numbers_that_cancel_may_move_as_far_as_rounding_moves_them(tmp_path):
    """1000.1 is added and taken away: what is left of the input has steps of 1000.1."""
    held = {"far": np.float32(1000.1), "back": np.float32(-1000.1)}
    nodes = [
        helper.make_node("Add", ["x", "far"], ["a"]),
        helper.make_node("Add", ["a", "back"], ["y"]),
    ]
    made = files.model(nodes, [files.port("x", [2, 4])], [files.port("y", None)], held)
    path = files.saved(tmp_path / "file.onnx", made)
    data = files.batches((2, 4))
    wanted = same_answers.file_answers(path, data)
    same_answers.require_same_answers(path, lambda x: (x,), data, wanted)
    with pytest.raises(ExportError):
        same_answers.require_same_answers(path, lambda x: (x + np.float32(0.1),), data, wanted)


def test_answers_with_nan_are_refused(tmp_path):
    made = files.one("Sqrt")
    with pytest.raises(VerificationError, match="itself answers batch 0 with NaN"):
        imported(tmp_path, made)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_an_input_gets_a_name_of_its_own(tmp_path):
    nodes = [files.conv("x", "y")]
    ports = [files.port("y", None), files.port("x", [2, 3, 8, 8])]
    made = files.model(nodes, [files.port("x", [2, 3, 8, 8])], ports, files.CONSTANTS)
    require_same(*imported(tmp_path, made))


def test_an_output_that_comes_twice_is_refused_or_given_twice(tmp_path):
    made = files.one("Relu")
    made.graph.output.add().CopyFrom(made.graph.output[0])
    path = files.saved(tmp_path / "file.onnx", made)
    try:
        files.plain(path, *files.data_for(made)[0])
    except Exception:  # ONNX Runtime refuses it, so nobody can say what is right
        with pytest.raises(TorchedgeError):
            imported(tmp_path, made)
    else:
        require_same(*imported(tmp_path, made))


def test_an_output_that_no_input_changes_is_refused(tmp_path):
    nodes = [files.conv("x", "y"), helper.make_node("Shape", ["x"], ["z"])]
    ports = [files.port("y", None), files.port("z", None, onnx.TensorProto.INT64)]
    made = files.model(nodes, [files.port("x", [2, 3, 8, 8])], ports, files.CONSTANTS)
    with pytest.raises(UsageError, match=r"output 1 of .* is the same whatever the inputs are"):
        imported(tmp_path, made)


@pytest.mark.parametrize("opset", [19, 20, 21])
def test_a_newer_opset_is_written_at_18(tmp_path, opset):
    artifact, wanted = imported(tmp_path, files.empty_region(opset))
    assert onnx.load(artifact.file(MODEL_FILE)).opset_import[0].version == 18
    require_same(artifact, wanted)


def test_an_operator_that_came_later_is_written_as_onnx_defines_it(tmp_path):
    artifact, wanted = imported(tmp_path, files.one("Gelu", opset=20))
    assert "Gelu" not in {node.op_type for node in onnx.load(artifact.file(MODEL_FILE)).graph.node}
    require_same(artifact, wanted)


def test_an_operator_that_came_later_and_has_no_older_form_is_refused_by_name(tmp_path):
    made = files.one("RMSNormalization", {"g": files.normal(8)}, opset=23, axis=-1)
    with pytest.raises(ExportError, match="opset 23 and has RMSNormalization, which opset 18"):
        imported(tmp_path, made)


def test_the_manifest_tells_shapes_and_types_of_all_inputs_and_outputs(tmp_path):
    artifact, _ = imported(tmp_path, files.two_inputs())
    assert [(s.name, s.shape, s.dtype) for s in artifact.inputs] == [
        ("input_0", (2, 3, 8, 8), "float32"),
        ("input_1", (2, 4), "float32"),
    ]
    assert [(s.name, s.shape, s.dtype) for s in artifact.outputs] == [
        ("output_0", (2, 12), "float32"),
        ("output_1", (2, 8), "float32"),
    ]
    classes = import_onnx(
        files.saved(tmp_path / "classes.onnx", files.classes_output()),
        files.data_for(files.classes_output()),
        tmp_path / "classes",
    )
    assert classes.outputs[0].dtype == "int64"
