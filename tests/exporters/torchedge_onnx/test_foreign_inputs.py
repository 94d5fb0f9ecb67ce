"""Inputs of all kinds: open sizes, axes in another order, whole numbers, several at once."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.exporters.torchedge_onnx import onnx_files as files
from torchedge.cli import main
from torchedge.errors import CalibrationError, UsageError
from torchedge.exporting import Normalisation, load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge_onnx.foreign_samples import samples_for
from torchedge_onnx.foreign_sizes import inputs_of
from torchedge_onnx.runner import OnnxRunner

SIZE = [3, 8, 8]


def network(shape, kind=files.FLOAT):
    """A convolution whose input has this shape, which may be open, and type."""
    first = [] if kind == files.FLOAT else [helper.make_node("Cast", ["x"], ["f"], to=files.FLOAT)]
    nodes = [*first, files.conv("f" if first else "x", "y")]
    return files.model(
        nodes, [files.port("x", shape, kind)], [files.port("y", None)], files.CONSTANTS
    )


def channels_last(kind=files.FLOAT, shape=(1, 8, 6, 3)):
    cast = [] if kind == files.FLOAT else [helper.make_node("Cast", ["x"], ["f"], to=files.FLOAT)]
    nodes = [
        *cast,
        helper.make_node("Transpose", ["f" if cast else "x"], ["t"], perm=[0, 3, 1, 2]),
        files.conv("t", "y"),
    ]
    return files.model(
        nodes, [files.port("x", shape, kind)], [files.port("y", None)], files.CONSTANTS
    )


def pictures(folder, count=4, size=(10, 12)):
    folder.mkdir()
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return folder


def arrays(folder, shape, count=4):
    folder.mkdir()
    for n, (array,) in enumerate(files.batches(shape, count=count)):
        np.save(folder / f"{n}.npy", array)
    return folder


def run(tmp_path, made, folder, *options):
    path = files.saved(tmp_path / "file.onnx", made)
    code = main(["import-onnx", str(path), str(folder), str(tmp_path / "out"), *options])
    return code, path


def require_answers(tmp_path, path):
    artifact = load_artifact(tmp_path / "out")
    samples = load_samples(artifact.file(SAMPLES_FILE))
    size = artifact.inputs[0].shape[0]
    wanted = [files.plain(path, *batch)[0] for batch in samples.batches(size)]
    with OnnxRunner().open(artifact) as session:
        found = [session(*batch)[0] for batch in samples.batches(size)]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)
    np.testing.assert_array_equal(samples.expected[0], np.concatenate(wanted))
    return artifact, samples


@pytest.mark.parametrize("first", [-1, None, "n", 1])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_open_batch_is_written_in_four_ways(tmp_path, capsys, first, batch):
    folder = arrays(tmp_path / "data", SIZE)
    if first == 1 and batch == 2:
        assert run(tmp_path, network([first, *SIZE]), folder, "--batch-size", "2")[0] == 2
        assert "takes batches of 1, not 2" in capsys.readouterr().err
        return
    code, path = run(tmp_path, network([first, *SIZE]), folder, "--batch-size", str(batch))
    assert code == 0
    artifact, _ = require_answers(tmp_path, path)
    assert artifact.inputs[0].shape == (batch, *SIZE)


def test_an_input_of_no_samples_cannot_be_run(tmp_path, capsys):
    """A size of 0 is no open one: ONNX Runtime takes nothing else."""
    assert run(tmp_path, network([0, *SIZE]), arrays(tmp_path / "data", SIZE))[0] == 2
    assert "cannot run" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], [-1, 3, -1, -1], ["n", "c", "h", "w"]])
def test_open_sizes_are_refused_with_the_option_that_fixes_them(tmp_path, capsys, shape):
    made, folder = network(shape), pictures(tmp_path / "data")
    assert run(tmp_path, made, folder)[0] == 2
    assert "--input-size" in capsys.readouterr().err
    code, path = run(tmp_path, made, folder, "--input-size", "3x9x11")
    assert code == 0
    artifact, _ = require_answers(tmp_path, path)
    assert artifact.inputs[0].shape == (1, 3, 9, 11)
    assert artifact.outputs[0].shape == (1, 8, 9, 11)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ("9x11", r"is [?, 3, ?, ?], the first the batch, and --input-size says 9x11"),
        ("1x9x11", "--input-size says 1x9x11"),
        ("y=3x9x11", "has no input 'y' but x"),
        ("1x3x9x11", "give every size but the batch"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path, capsys, size, text):
    made = network(["n", 3, "h", "w"])
    code, _ = run(tmp_path, made, pictures(tmp_path / "data"), "--input-size", size)
    assert code == 2
    assert text in capsys.readouterr().err


def test_a_size_by_the_inputs_name_is_the_same(tmp_path):
    folder = pictures(tmp_path / "data")
    code, path = run(tmp_path, network(["n", 3, "h", "w"]), folder, "--input-size", "x=3,9,11")
    assert code == 0
    assert require_answers(tmp_path, path)[0].inputs[0].shape == (1, 3, 9, 11)


def test_pictures_for_channels_last_lie_in_that_order(tmp_path):
    folder = pictures(tmp_path / "data", size=(8, 6))
    code, path = run(tmp_path, channels_last(), folder)
    assert code == 0
    artifact, samples = require_answers(tmp_path, path)
    first = np.asarray(Image.open(folder / "0.png"))
    np.testing.assert_allclose(samples.inputs[0][0], first / 255, rtol=1e-6)
    assert artifact.normalisation == Normalisation(mean=(0.0,), deviation=(255.0,))


def test_a_normalisation_by_channel_is_done_and_not_told_where_channels_are_last(tmp_path):
    folder = pictures(tmp_path / "data", size=(8, 6))
    code, path = run(tmp_path, channels_last(), folder, "--mean", "0.5", "0", "0")
    assert code == 0
    artifact, samples = require_answers(tmp_path, path)
    first = np.asarray(Image.open(folder / "0.png")) / 255 - [0.5, 0, 0]
    np.testing.assert_allclose(samples.inputs[0][0], first, atol=1e-6)
    assert artifact.normalisation is None


def test_arrays_for_channels_last_are_taken_as_they_lie(tmp_path):
    code, path = run(tmp_path, channels_last(), arrays(tmp_path / "data", (8, 6, 3)))
    assert code == 0
    require_answers(tmp_path, path)


@pytest.mark.parametrize(
    "made", [network([1, *SIZE], TensorProto.UINT8), channels_last(TensorProto.UINT8)]
)
def test_an_input_of_bytes_takes_pixels_as_they_are(tmp_path, made):
    size = (8, 8) if made.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 3 else (8, 6)
    folder = pictures(tmp_path / "data", size=size)
    code, path = run(tmp_path, made, folder)
    assert code == 0
    artifact, samples = require_answers(tmp_path, path)
    first = np.asarray(Image.open(folder / "0.png"))
    first = first.transpose(2, 0, 1) if size == (8, 8) else first
    np.testing.assert_array_equal(samples.inputs[0][0], first)
    assert samples.inputs[0].dtype == np.uint8
    assert artifact.inputs[0].dtype == "uint8"


def test_a_mean_for_bytes_is_refused(tmp_path, capsys):
    made = network([1, *SIZE], TensorProto.UINT8)
    code, _ = run(tmp_path, made, pictures(tmp_path / "data"), "--mean", "0.5", "0", "0")
    assert code == 2
    assert "takes uint8, pixels as they are" in capsys.readouterr().err


def words():
    """An embedding: whole numbers in, floats out."""
    table = {"table": files.normal(20, 4)}
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    return files.model(
        [node], [files.port("x", ["n", 6], TensorProto.INT64)], [files.port("y", None)], table
    )


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
def test_whole_numbers_of_any_type_are_read_as_the_input_takes_them(tmp_path, dtype):
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(4):
        np.save(folder / f"{n}.npy", np.arange(n, n + 6).astype(dtype))
    code, path = run(tmp_path, words(), folder)
    assert code == 0
    artifact, samples = require_answers(tmp_path, path)
    assert samples.inputs[0].dtype == np.int64
    assert artifact.inputs[0].dtype == "int64"


def several(folder, count=4, **changes):
    folder.mkdir()
    random = files.rng()
    for n in range(count):
        held = {
            "image": random.random((3, 8, 8), np.float32),
            "numbers": random.random(4, np.float32),
        }
        np.savez(folder / f"{n}.npz", **(held | changes))
    return folder


def test_several_inputs_come_from_one_npz_for_each_sample(tmp_path):
    folder = several(tmp_path / "data")
    code, path = run(tmp_path, files.two_inputs(), folder)
    assert code == 0
    artifact = load_artifact(tmp_path / "out")
    samples = load_samples(artifact.file(SAMPLES_FILE))
    with np.load(folder / "0.npz") as held:
        np.testing.assert_array_equal(samples.inputs[0][0], held["image"])
        np.testing.assert_array_equal(samples.inputs[1][0], held["numbers"])
    wanted = files.plain(path, *(array[:2] for array in samples.inputs))
    for kept, answer in zip(samples.expected, wanted, strict=True):
        np.testing.assert_array_equal(kept[:2], answer)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"numbers": np.zeros(5, np.float32)}, r"shape \[5\] for 'numbers'.* takes \[4\]"),
        ({"numbers": np.full(4, np.nan, np.float32)}, "0.npz.* for 'numbers'"),
    ],
)
def test_an_array_that_does_not_fit_its_input_is_refused_with_the_file(tmp_path, changes, text):
    path = files.saved(tmp_path / "file.onnx", files.two_inputs())
    folder = several(tmp_path / "data", **changes)
    inputs = inputs_of(path, onnx.load(path))
    with pytest.raises(CalibrationError, match=text):
        list(samples_for(folder, path, inputs))


def test_an_array_that_is_missing_is_named(tmp_path):
    path = files.saved(tmp_path / "file.onnx", files.two_inputs())
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(2):
        np.savez(folder / f"{n}.npz", image=np.zeros((3, 8, 8), np.float32), other=np.zeros(4))
    with pytest.raises(CalibrationError, match=r"'other'\].* takes 'image', 'numbers'"):
        list(samples_for(folder, path, inputs_of(path, onnx.load(path))))


def test_a_folder_of_pictures_for_several_inputs_says_what_it_should_hold(tmp_path):
    path = files.saved(tmp_path / "file.onnx", files.two_inputs())
    folder = pictures(tmp_path / "data")
    with pytest.raises(CalibrationError, match=r"\.npz files with an array for each input"):
        list(samples_for(folder, path, inputs_of(path, onnx.load(path))))


def test_sizes_of_several_inputs_are_given_by_name(tmp_path):
    made = files.two_inputs()
    for value, sizes in zip(made.graph.input, (["n", 3, "h", "w"], ["n", "k"]), strict=True):
        value.CopyFrom(files.port(value.name, sizes))
    del made.graph.output[:]
    made.graph.output.extend([files.port("y", ["n", "a"]), files.port("z", ["n", 8])])
    path = files.saved(tmp_path / "file.onnx", made)
    model = onnx.load(path)
    with pytest.raises(UsageError, match=r"input 'image' of .* has the open shape"):
        list(samples_for(tmp_path, path, inputs_of(path, model)))
    folder = several(tmp_path / "data")
    words = ["--input-size", "image=3x8x8", "--input-size", "numbers=4"]
    out = tmp_path / "out"
    assert main(["import-onnx", str(path), str(folder), str(out), *words]) == 0
    assert [s.shape for s in load_artifact(out).inputs] == [(1, 3, 8, 8), (1, 4)]


def test_arrays_and_pictures_in_one_folder_are_refused_where_their_axes_differ(tmp_path, capsys):
    folder = pictures(tmp_path / "data")
    np.save(folder / "9.npy", np.zeros((8, 6, 3), np.float32))
    assert run(tmp_path, channels_last(), folder)[0] == 2
    assert "two folders" in capsys.readouterr().err
