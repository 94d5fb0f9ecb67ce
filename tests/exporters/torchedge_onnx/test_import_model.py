"""ONNX files that this package did not write."""

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import ResidualNet, with_batchnorm_statistics
from torchedge.cli import main
from torchedge.errors import ArtifactError, CalibrationError, OutputExistsError, UsageError
from torchedge.exporting import Normalisation, load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge_onnx.import_model import import_onnx
from torchedge_onnx.runner import OnnxRunner
from torchedge_onnx.sample_folder import folder_normalisation
from torchedge_onnx.step import FLOAT_FILE, MODEL_FILE


def network():
    torch.manual_seed(0)
    return with_batchnorm_statistics(ResidualNet(), torch.rand(32, 1, 16, 16))


@pytest.fixture
def foreign(tmp_path):
    """Writes a network as PyTorch's exporter does, with names of its own and batch norms."""

    def write(module=None, *, dynamic=False, name="resnet.v2", size=16):
        path = tmp_path / f"{name}.onnx"
        torch.onnx.export(
            module or network(),
            (torch.rand(2, 1, size, size),),
            path,
            input_names=["images:0"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if dynamic else None,
            external_data=False,
            optimize=False,
            verbose=False,
        )
        return path

    return write


def data(batches=8, size=2):
    random = np.random.default_rng(0)
    return [(random.random((size, 1, 16, 16), np.float32),) for _ in range(batches)]


def test_it_answers_as_pytorch_does(foreign, tmp_path):
    artifact = import_onnx(foreign(), data(), tmp_path / "out")
    samples = load_samples(artifact.file(SAMPLES_FILE))
    with torch.no_grad():
        wanted = network()(torch.from_numpy(samples.inputs[0])).numpy()
    np.testing.assert_allclose(samples.expected[0], wanted, atol=1e-5)
    with OnnxRunner().open(artifact) as session:
        found = np.concatenate([session(*x)[0] for x in samples.batches(2)])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_every_fourth_batch_is_for_checks_and_no_calibration_sample_is_among_them(
    foreign, tmp_path
):
    given = data(8)
    artifact = import_onnx(foreign(), given, tmp_path / "out")
    samples = load_samples(artifact.file(SAMPLES_FILE))
    np.testing.assert_array_equal(samples.inputs[0], np.concatenate([given[0][0], given[4][0]]))
    rest = [batch for i, (batch,) in enumerate(given) if i not in {0, 4}]
    np.testing.assert_array_equal(samples.calibration[0], np.concatenate(rest))


def test_the_graph_has_our_names_one_shape_no_batch_norm_and_named_nodes(foreign, tmp_path):
    artifact = import_onnx(foreign(dynamic=True), data(size=3), tmp_path / "out")
    graph = onnx.load(artifact.file(MODEL_FILE)).graph
    assert [spec.name for spec in artifact.inputs + artifact.outputs] == ["input_0", "output_0"]
    assert artifact.inputs[0].shape == (3, 1, 16, 16)
    assert artifact.outputs[0].shape == (3, 4)
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    assert len({node.name for node in graph.node}) == len(graph.node)
    assert artifact.scheme is None
    assert artifact.file(FLOAT_FILE).read_bytes() == artifact.file(MODEL_FILE).read_bytes()


def test_an_old_opset_is_lifted(tmp_path):
    """Opset 11, whose Squeeze has its axes in an attribute."""
    weight = np.random.default_rng(0).normal(size=(4, 1, 16, 16)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["y"]),
        onnx.helper.make_node("Squeeze", ["y"], ["z"], axes=[2, 3]),
    ]
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, 1, 16, 16]), ("z", [2, 4]))
    ]
    constants = [onnx.numpy_helper.from_array(weight, "w")]
    graph = onnx.helper.make_graph(nodes, "old", ports[:1], ports[1:], constants)
    opset = [onnx.helper.make_opsetid("", 11)]
    path = tmp_path / "old.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=6), path)
    artifact = import_onnx(path, data(), tmp_path / "out")
    assert onnx.load(artifact.file(MODEL_FILE)).opset_import[0].version == 18
    samples = load_samples(artifact.file(SAMPLES_FILE))
    wanted = np.einsum("nchw,ochw->no", samples.inputs[0], weight)
    np.testing.assert_allclose(samples.expected[0], wanted, atol=1e-3)


def test_what_the_data_went_through_is_kept(foreign, tmp_path):
    known = Normalisation(mean=(0.5,), deviation=(0.25,))
    import_onnx(foreign(), data(), tmp_path / "out", normalisation=known)
    assert load_artifact(tmp_path / "out").normalisation == known


def test_a_normalisation_of_more_channels_is_refused(foreign, tmp_path):
    wrong = Normalisation(mean=(0.1, 0.2, 0.3), deviation=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match=r"3 means for an input \[2, 1, 16, 16\]"):
        import_onnx(foreign(), data(), tmp_path / "out", normalisation=wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ((np.zeros((2, 1, 16, 15), np.float32),), r"batch 1 holds float32 \[2, 1, 16, 15\]"),
        ((np.zeros((1, 1, 16, 16), np.float32),), r"batch 1 holds float32 \[1, 1, 16, 16\]"),
        ((np.zeros((2, 1, 16, 16)),), r"batch 1 holds float64 \[2, 1, 16, 16\]"),
        ((), "batch 1 holds nothing"),
    ],
)
def test_batches_that_do_not_fit_are_refused(foreign, tmp_path, wrong, named):
    with pytest.raises(CalibrationError, match=named + r".*takes float32 \[2, 1, 16, 16\]"):
        import_onnx(foreign(), [*data(1), wrong], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inner_tensors_that_have_our_names_get_others(tmp_path):
    nodes = [
        onnx.helper.make_node("Conv", ["x", "input_0"], ["output_0"]),
        onnx.helper.make_node("Sigmoid", ["output_0"], ["y"]),
    ]
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, 1, 16, 16]), ("y", [2, 4, 1, 1]))
    ]
    weight = np.random.default_rng(0).normal(size=(4, 1, 16, 16)).astype(np.float32)
    constants = [onnx.numpy_helper.from_array(weight, "input_0")]
    graph = onnx.helper.make_graph(nodes, "ours", ports[:1], ports[1:], constants)
    path = tmp_path / "ours.onnx"
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    artifact = import_onnx(path, data(), tmp_path / "out")
    samples = load_samples(artifact.file(SAMPLES_FILE))
    summed = np.einsum("nchw,ochw->no", samples.inputs[0], weight)[..., None, None]
    np.testing.assert_allclose(samples.expected[0], 1 / (1 + np.exp(-summed)), atol=1e-5)


def test_a_file_with_quantisers_is_refused(save_model, tmp_path):
    from torchedge_onnx.step import TorchToOnnx

    (tmp_path / "onnx").mkdir()
    quantised = TorchToOnnx().export(save_model("onnx-cpu"), tmp_path / "onnx")
    with pytest.raises(ArtifactError, match="has QuantizeLinear nodes"):
        import_onnx(quantised.file(MODEL_FILE), data(size=1), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_open_size_of_the_picture_is_that_of_the_data(foreign, tmp_path):
    path = foreign(nn.Conv2d(1, 1, 3).eval())
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    path.write_bytes(model.SerializeToString())
    random = np.random.default_rng(0)
    given = [(random.random((2, 1, 20, 16), np.float32),) for _ in range(2)]
    artifact = import_onnx(path, given, tmp_path / "out")
    assert artifact.inputs[0].shape == (2, 1, 20, 16)
    assert artifact.outputs[0].shape == (2, 1, 18, 14)


def test_one_batch_is_too_few(foreign, tmp_path):
    with pytest.raises(CalibrationError, match="1 batches of samples; give at least 2"):
        import_onnx(foreign(), data(1), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="7 bytes"):
        import_onnx(path, data(), tmp_path / "out")


def test_an_existing_folder_is_kept(foreign, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExistsError):
        import_onnx(foreign(), data(), tmp_path / "out")


def test_the_command_reads_a_folder_and_says_what_comes_next(foreign, tmp_path, capsys):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for n, (batch,) in enumerate(data(8, 1)):
        np.save(folder / f"{n}.npy", batch[0])
    words = [str(foreign(dynamic=True)), str(folder), str(tmp_path / "out")]
    assert main(["import-onnx", *words]) == 0
    assert "next: torchedge export" in capsys.readouterr().out
    artifact = load_artifact(tmp_path / "out")
    assert artifact.inputs[0].shape == (1, 1, 16, 16)
    assert artifact.normalisation is None


def pictures(folder):
    folder.mkdir()
    for n in range(4):
        Image.new("RGB", (20, 20), (40 * n, 51, 255)).save(folder / f"{n}.png")
    return folder


@pytest.mark.parametrize(
    ("options", "mean", "deviation"),
    [([], 0.0, 255.0), (["--mean", "0.5", "0", "0", "--std", "0.25", "1", "1"], 127.5, 63.75)],
)
def test_the_command_keeps_what_was_done_to_a_pixel(foreign, tmp_path, options, mean, deviation):
    folder, out = pictures(tmp_path / "pictures"), tmp_path / "out"
    assert main(["import-onnx", str(foreign(dynamic=True)), str(folder), str(out), *options]) == 0
    artifact = load_artifact(out)
    assert artifact.normalisation == Normalisation(mean=(mean,), deviation=(deviation,))
    samples = load_samples(artifact.file(SAMPLES_FILE))
    first = np.asarray(Image.open(folder / "0.png").convert("L"))[0, 0]
    np.testing.assert_allclose(samples.inputs[0][0, 0], (first - mean) / deviation, rtol=1e-6)


def test_nothing_is_known_of_arrays_even_beside_pictures(foreign, tmp_path):
    folder = pictures(tmp_path / "pictures")
    np.save(folder / "4.npy", np.zeros((1, 16, 16), np.float32))
    assert folder_normalisation(folder, foreign()) is None


def test_a_mean_for_arrays_is_refused(foreign, tmp_path, capsys):
    folder, out = tmp_path / "arrays", tmp_path / "out"
    folder.mkdir()
    for n, (batch,) in enumerate(data(8, 1)):
        np.save(folder / f"{n}.npy", batch[0])
    words = [str(foreign(dynamic=True)), str(folder), str(out), "--mean", "0.5", "0.5", "0.5"]
    assert main(["import-onnx", *words]) == 2
    assert "holds arrays only" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["import-onnx", "nowhere.onnx", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "'nowhere.onnx' is no file" in capsys.readouterr().err
