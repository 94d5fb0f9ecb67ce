import numpy as np
import onnx
import pytest
from PIL import Image

from torchedge.errors import CalibrationError, UsageError
from torchedge_onnx.sample_folder import folder_batches, folder_normalisation, labelled_batches


@pytest.fixture
def model(tmp_path):
    """Networks that return their inputs, of these shapes and names."""

    def made(**shapes):
        kind = onnx.TensorProto.FLOAT
        values = [onnx.helper.make_tensor_value_info(n, kind, s) for n, s in shapes.items()]
        outputs = [onnx.helper.make_tensor_value_info(f"{n}_", kind, s) for n, s in shapes.items()]
        nodes = [onnx.helper.make_node("Relu", [n], [f"{n}_"]) for n in shapes]
        graph = onnx.helper.make_graph(nodes, "g", values, outputs)
        opset = [onnx.helper.make_opsetid("", 18)]
        path = tmp_path / "model.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        return path

    return made


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for name, value in (("cat", 0), ("dog", 255)):
        (folder / name).mkdir(parents=True)
        for ending in (".bmp", ".gif", ".jpg", ".tif"):
            Image.new("RGB", (4, 4), (value,) * 3).save(folder / name / f"a{ending}")
    return folder


def test_class_sub_folders_give_labels(model, pictures):
    batches = list(labelled_batches(pictures, model(x=[2, 3, 4, 4])))
    assert [batch.labels.tolist() for batch in batches] == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert batches[0].inputs[0].max() <= 0.01
    assert batches[3].inputs[0].min() >= 0.99


def test_a_folder_without_classes_has_no_labels(model, pictures):
    assert next(labelled_batches(pictures / "cat", model(x=[2, 3, 4, 4]))).labels is None


def test_channels_last_inputs_get_pictures_and_their_normalisation(model, pictures):
    path, mean, std = model(x=[2, 8, 8, 3]), (0.5, 0.4, 0.3), (0.5, 0.5, 0.1)
    batch = list(folder_batches(pictures, path, mean=mean, std=std))[-1][0]
    assert batch.shape == (2, 8, 8, 3)
    assert batch[0, 0, 0].tolist() == pytest.approx([1, 1.2, 7])
    found = folder_normalisation(pictures, path, mean=mean, std=std)
    assert found.mean == pytest.approx((127.5, 102, 76.5))
    found.require_fit((2, 8, 8, 3))


@pytest.mark.parametrize("given", [(1, 3, 6, 5), (3, 6, 5)])
def test_open_sizes_are_given_with_or_without_the_batch(model, pictures, given):
    path = model(x=["n", 3, "h", "w"])
    with pytest.raises(CalibrationError, match=r"open shape \['n', 3, 'h', 'w'\]; give its sizes"):
        folder_batches(pictures, path)
    assert next(folder_batches(pictures, path, input_shape=given))[0].shape == (1, 3, 6, 5)


@pytest.mark.parametrize("given", [(1, 1, 6, 5), (6, 5), (2, 3, 6, 5, 4)])
def test_sizes_that_contradict_the_model_are_refused(model, pictures, given):
    path = model(x=["n", 3, "h", "w"])
    with pytest.raises(CalibrationError, match="give sizes that fit where it is open"):
        folder_batches(pictures, path, input_shape=given)


def test_several_inputs_come_from_archives_with_an_array_for_each(model, tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for n in range(3):
        np.savez(folder / f"{n}.npz", left=np.full(3, n), right=np.zeros((2, 2)), label=n)
        continue
    with pytest.raises(CalibrationError, match=r"0\.npz' holds int64 values"):
        list(folder_batches(folder, model(left=[1, 3], right=[1, 2, 2])))
    for n in range(3):
        np.savez(folder / f"{n}.npz", left=np.full(3, n / 1), right=np.zeros((2, 2)), label=n)
    batches = list(labelled_batches(folder, model(left=[1, 3], right=[1, 2, 2])))
    assert [batch.inputs[0][0, 0] for batch in batches] == [0, 1, 2]
    assert [batch.inputs[1].shape for batch in batches] == [(1, 2, 2)] * 3
    assert [batch.labels.tolist() for batch in batches] == [[0], [1], [2]]


def test_a_file_with_many_samples_is_cut_into_batches(model, tmp_path):
    np.save(tmp_path / "all.npy", np.arange(15.0).reshape(5, 3))
    batches = list(folder_batches(tmp_path / "all.npy", model(x=[2, 3])))
    assert [batch[0][0, 0] for batch in batches] == [0, 6]
    with pytest.raises(CalibrationError, match="fewer than the batch of 6"):
        folder_batches(tmp_path / "all.npy", model(x=[6, 3]))


def test_a_mean_for_arrays_and_a_deviation_of_zero_are_refused(model, tmp_path, pictures):
    np.save(tmp_path / "all.npy", np.zeros((5, 3)))
    with pytest.raises(UsageError, match="holds arrays only"):
        folder_batches(tmp_path / "all.npy", model(x=[2, 3]), mean=(0.5,), std=(1.0,))
    with pytest.raises(UsageError, match="deviations above zero"):
        folder_batches(pictures, model(x=[1, 3, 4, 4]), std=(0.0, 1.0, 1.0))
