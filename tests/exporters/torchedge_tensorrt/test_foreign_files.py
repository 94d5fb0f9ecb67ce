"""Float ONNX files of other tools on their way to a Jetson: the file's answers, or an error."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.exporters.torchedge_onnx import onnx_files as files
from torchedge.bench.parity import compare_answers
from torchedge.cli import main
from torchedge.errors import ArtifactError, CalibrationError, ExportError
from torchedge_onnx import foreign_graph
from torchedge_onnx.import_model import import_onnx
from torchedge_onnx.session import open_model
from torchedge_tensorrt.calibration_cache import parse_cache
from torchedge_tensorrt.explicit_answers import KeptBatches, parity_lines
from torchedge_tensorrt.host_calibration import calibrate_onnx
from torchedge_tensorrt.scales import float_tensors

WITH_LAYERS = [kind for kind in files.KINDS if kind != "old resize, linear"]


def old_network(mode="linear"):
    """A convolution, then a ``Resize`` of opset 10."""
    held = files.CONSTANTS | {"s": np.array([1, 1, 2, 2], np.float32)}
    nodes = [files.conv("x", "c"), helper.make_node("Resize", ["c", "s"], ["y"], mode=mode)]
    return files.model(
        nodes, [files.port("x", [2, 3, 8, 8])], [files.port("y", None)], held, opset=10, ir=5
    )


def folder_of(made, folder, count=8):
    """Samples as the commands read them."""
    folder.mkdir()
    constant = {tensor.name for tensor in made.graph.initializer}
    names = [value.name for value in made.graph.input if value.name not in constant]
    rows = [row for batch in files.data_for(made, count) for row in zip(*batch, strict=True)]
    for number, row in enumerate(rows):
        if len(names) == 1:
            np.save(folder / f"{number:03}.npy", row[0])
        else:
            np.savez(folder / f"{number:03}.npz", **dict(zip(names, row, strict=True)))
    return folder


def created(tmp_path, made, *options):
    path = files.saved(tmp_path / "file.onnx", made)
    folder, out = folder_of(made, tmp_path / "data"), tmp_path / "out"
    code = main(["calibration", "create", str(path), str(folder), str(out), *options])
    return code, path, out


@pytest.mark.parametrize("kind", [*WITH_LAYERS, "old network"])
def test_q_dq_is_near_to_the_file_as_it_came_and_says_how_near(tmp_path, capsys, kind):
    made = old_network() if kind == "old network" else files.KINDS[kind]()
    code, path, out = created(tmp_path, made, "--qdq")
    assert code == 0
    printed = capsys.readouterr().out
    line = next(text for text in printed.splitlines() if "against file.onnx on" in text)
    data = files.data_for(made, 8)
    session = open_model(out / "model_qdq.onnx")
    columns = zip(*(session(*batch) for batch in data), strict=True)
    found = [np.concatenate([np.atleast_1d(x) for x in column]) for column in columns]
    columns = zip(*(files.plain(path, *batch) for batch in data), strict=True)
    wanted = [np.concatenate([np.atleast_1d(x) for x in column]) for column in columns]
    parity = compare_answers(found, wanted)
    assert parity.cosine_similarity > 0.99
    assert f"cosine similarity {parity.cosine_similarity:.4f}" in line
    assert ("the same largest score" in line) == (parity.top1_agreement is not None)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_an_old_file_is_written_at_opset_13_and_samples_where_it_did(tmp_path, mode):
    code, _, out = created(tmp_path, old_network(mode), "--qdq")
    assert code == 0
    written = onnx.load(out / "model_qdq.onnx")
    assert written.opset_import[0].version == 13
    (node,) = [n for n in written.graph.node if n.op_type == "Resize"]
    modes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert modes["coordinate_transformation_mode"] == b"asymmetric"
    assert parse_cache((out / "calibration.cache").read_text())[1].keys() == {"x", "c", "y"}


def test_a_rewrite_that_answers_otherwise_is_refused(tmp_path, monkeypatch, capsys):
    def converted(path, model, opset):
        return onnx.version_converter.convert_version(model, opset)

    monkeypatch.setattr(foreign_graph, "at_opset", converted)
    code, _, out = created(tmp_path, old_network(), "--qdq")
    assert code == 1
    assert "answers batch 0 otherwise" in capsys.readouterr().err
    assert not out.exists()


def test_low_figures_are_warned_of():
    wanted = [np.eye(4, dtype=np.float32)]
    near = compare_answers(wanted, wanted)
    assert parity_lines(near, "q", "m") == [
        "q against m on 4 samples: cosine similarity 1.0000, the same largest score on 100.00%"
    ]
    far = compare_answers([np.roll(wanted[0], 1, axis=1)], wanted)
    assert parity_lines(far, "q", "m")[1].startswith("warning: below 0.99: try another --method")
    turned = compare_answers([wanted[0][:1, :1] * 0 + np.float32(0.5)], [wanted[0][:1, :1]])
    assert len(parity_lines(turned, "q", "m")) == 1


def test_a_network_that_int8_ruins_is_warned_of(tmp_path, capsys):
    """A weight a million times the others leaves them one step of the grid."""
    weight = files.normal(6, 4)
    data = np.ones((8, 6), np.float32)
    data[:, 0] = 1e6
    data[:, 1:] += files.normal(8, 5)
    weight[0] = 0
    path = files.saved(tmp_path / "file.onnx", files.linear("MatMul", {"m": weight}))
    folder = tmp_path / "data"
    folder.mkdir()
    for number, row in enumerate(data):
        np.save(folder / f"{number}.npy", row)
    words = [str(path), str(folder), str(tmp_path / "out"), "--qdq"]
    assert main(["calibration", "create", *words]) == 0
    assert "warning: below 0.99" in capsys.readouterr().out


def test_only_some_of_the_data_is_kept_for_the_comparison():
    big = [(np.zeros((1, 3 * 2**20), np.float32),) for _ in range(8)]
    kept = KeptBatches(iter(big))
    assert len(list(kept)) == 8
    assert len(kept.kept) == 5  # 12 MiB each, 64 MiB in all
    huge = KeptBatches(iter([(np.zeros((1, 17 * 2**20), np.float32),)]))
    assert len(list(huge)) == len(huge.kept) == 1


@pytest.mark.parametrize("sizes", [["n", 3, "h", "w"], [-1, 3, -1, -1]])
def test_open_sizes_are_fixed_in_the_file_with_q_dq_and_the_batch_is_left_open(
    tmp_path, capsys, sizes
):
    made = files.listed(ir=8)
    made.graph.input[0].CopyFrom(files.port("x", sizes))
    made.graph.output[0].CopyFrom(files.port("y", ["n", 8, "h", "w"]))
    path = files.saved(tmp_path / "file.onnx", made)
    folder, out = folder_of(files.listed(ir=8), tmp_path / "data"), tmp_path / "out"
    words = ["calibration", "create", str(path), str(folder), str(out), "--qdq"]
    assert main(words) == 2
    assert "--input-size" in capsys.readouterr().err
    assert main([*words, "--input-size", "3x8x8"]) == 0
    dims = onnx.load(out / "model_qdq.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [0, 3, 8, 8]
    found = open_model(out / "model_qdq.onnx")(files.normal(5, 3, 8, 8))[0]
    assert found.shape == (5, 8, 8, 8)


def test_an_input_of_bytes_is_calibrated_behind_its_cast(tmp_path):
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=files.FLOAT), files.conv("f", "y")]
    ports = [files.port("x", [1, 3, 8, 8], TensorProto.UINT8)], [files.port("y", None)]
    path = files.saved(tmp_path / "file.onnx", files.model(nodes, *ports, files.CONSTANTS))
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (3, 8, 8), dtype=np.uint8)
        np.save(folder / f"{number}.npy", pixels)
    out = tmp_path / "out"
    assert main(["calibration", "create", str(path), str(folder), str(out), "--qdq"]) == 0
    assert parse_cache((out / "calibration.cache").read_text())[1].keys() == {"f", "y"}


def test_a_function_of_the_file_is_calibrated_inside_and_its_names_are_told(tmp_path, capsys):
    code, path, out = created(tmp_path, files.with_function())
    assert code == 0
    assert "has local functions, whose inner tensors" in capsys.readouterr().out
    record = json.loads((out / "calibration.json").read_text())
    assert any("local functions" in note for note in record["notes"])
    assert len(parse_cache((out / "calibration.cache").read_text())[1]) == 4
    assert onnx.load(path).functions


def test_an_empty_constant_has_no_scale(tmp_path):
    made = files.empty_region()
    path = files.saved(tmp_path / "file.onnx", made)
    assert "roi" in float_tensors(made)
    assert calibrate_onnx(path, files.data_for(made)).scales.keys() == {"x", "c", "y"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches_of_another_number_of_arrays_are_refused(tmp_path, count):
    path = files.saved(tmp_path / "file.onnx", files.two_inputs())
    given = [(files.normal(2, 3, 8, 8),) * count] * 2
    text = f"batch 0 has {count} arrays; the network takes 2: image, numbers"
    with pytest.raises((CalibrationError, ArtifactError), match=text):
        calibrate_onnx(path, given)


def test_batches_of_another_shape_are_one_line(tmp_path):
    path = files.saved(tmp_path / "file.onnx", files.listed())
    with pytest.raises(ArtifactError, match="cannot run"):
        calibrate_onnx(path, files.batches((2, 3, 8, 9)) + files.batches((2, 4, 8, 8)))


@pytest.mark.parametrize("options", [[], ["--precision", "int8"]])
@pytest.mark.parametrize("target", ["jetson", "onnx-cpu"])
def test_an_imported_file_for_a_target_that_trains_names_what_a_user_can_type(
    tmp_path, capsys, target, options
):
    made = files.listed()
    import_onnx(files.saved(tmp_path / "file.onnx", made), files.data_for(made), tmp_path / "in")
    words = ["export", str(tmp_path / "in"), "--target", target, "--out", str(tmp_path / "out")]
    if target == "onnx-cpu":
        options = []
    assert main([*words, *options]) == 2
    assert "torchedge calibration create file.onnx DATA OUT --qdq" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind", ["a number as output", "two inputs and outputs", "classes as output", "a function"]
)
def test_an_imported_file_goes_on_to_a_bundle_in_half_precision(tmp_path, kind):
    made = files.KINDS[kind]()
    path = files.saved(tmp_path / "file.onnx", made)
    import_onnx(path, files.data_for(made), tmp_path / "in")
    out = tmp_path / "out"
    words = ["export", str(tmp_path / "in"), "--target", "jetson", "--precision", "fp16"]
    assert main([*words, "--out", str(out)]) == 0
    bundle = out / "tensorrt-bundle"
    batch = files.data_for(made)[0]
    found, wanted = files.plain(bundle / "model_fp32.onnx", *batch), files.plain(path, *batch)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for place, array in enumerate(batch):
        golden = np.fromfile(bundle / f"golden_input_{place}.bin", "<f4")
        np.testing.assert_array_equal(golden[: array.size], array.ravel())


def test_whole_numbers_as_inputs_are_refused_for_a_bundle_whose_scripts_feed_floats(
    tmp_path, capsys
):
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=files.FLOAT), files.conv("f", "y")]
    ports = [files.port("x", [1, 3, 8, 8], TensorProto.UINT8)], [files.port("y", None)]
    path = files.saved(tmp_path / "file.onnx", files.model(nodes, *ports, files.CONSTANTS))
    data = [(np.full((1, 3, 8, 8), n, np.uint8),) for n in range(4)]
    import_onnx(path, data, tmp_path / "in")
    words = ["--target", "jetson", "--precision", "fp16", "--out", str(tmp_path / "out")]
    assert main(["export", str(tmp_path / "in"), *words]) == ExportError.exit_code
    assert "input 'input_0' of 'file' is uint8" in capsys.readouterr().err
