import numpy as np
import pytest
from PIL import Image

from torchedge.batches.files import sample_files
from torchedge.batches.folders import InputSpec, read_samples
from torchedge.batches.pictures import PixelScale
from torchedge.errors import CalibrationError

PIXELS = InputSpec(name="x", shape=(3, 2, 2))


def read(folder, *inputs):
    return list(read_samples(sample_files(folder), inputs or (PIXELS,), PixelScale()))


def test_a_picture_fits_channels_first_channels_last_and_grey_without_channels(tmp_path):
    Image.new("RGB", (2, 2), (255, 0, 51)).save(tmp_path / "a.png")
    for shape in ((3, 2, 2), (2, 2, 3), (2, 2)):
        (sample,) = read(tmp_path, InputSpec(name="x", shape=shape))
        assert sample.inputs[0].shape == shape
    assert read(tmp_path, InputSpec(name="x", shape=(9, 9, 3)))[0].inputs[0][4, 5].tolist() == (
        pytest.approx([1, 0, 0.2])
    )


def test_an_array_holds_one_sample_or_several(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((3, 2, 2)))
    np.save(tmp_path / "two.npy", np.ones((2, 3, 2, 2), np.float16))
    samples = read(tmp_path)
    assert [sample.inputs[0].shape for sample in samples] == [(3, 2, 2)] * 3
    assert {str(sample.inputs[0].dtype) for sample in samples} == {"float32"}


def test_several_inputs_and_labels_come_from_one_archive_by_name(tmp_path):
    ids, x = np.arange(8).reshape(2, 4), np.zeros((2, 3))
    np.savez(tmp_path / "a.npz", x=x, ids=ids, label=[4, 5], unused=np.zeros(9))
    specs = InputSpec(name="ids", shape=(4,), dtype="int64"), InputSpec(name="x", shape=(3,))
    samples = read(tmp_path, *specs)
    assert [sample.inputs[0].tolist() for sample in samples] == ids.tolist()
    assert [sample.label for sample in samples] == [4, 5]


def test_the_only_array_of_an_archive_needs_no_name(tmp_path):
    np.savez(tmp_path / "a.npz", anything=np.zeros((3, 2, 2)), y=np.int64(1))
    (sample,) = read(tmp_path)
    assert sample.label == 1


def test_classes_of_a_folder_are_labels(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros((2, 3, 2, 2)))
    assert [sample.label for sample in read(tmp_path)] == [0, 0, 1, 1]


def test_lost_transparency_is_told_once(tmp_path):
    for name in "ab":
        Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match=r"a\.png' is transparent in places") as told:
        read(tmp_path)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((3, 2, 2), np.nan), "holds 12 NaN or infinite values of 12"),
        (np.full((3, 2, 2), 1e300), "holds 12 NaN or infinite"),
        (np.zeros((3, 2, 2), np.uint8), r"uint8 values, the network takes float32.*/ 255"),
        (np.zeros((3, 2, 2), bool), "bool values"),
        (np.zeros((3, 2, 2), complex), "complex128 values"),
        (np.zeros((2, 2, 3)), "np.moveaxis"),
        (np.zeros((3, 2)), r"has the shape \[3, 2\]"),
        (np.zeros((1, 1, 3, 2, 2)), r"has the shape \[1, 1, 3, 2, 2\]"),
        (np.array(None, dtype=object), "cannot be read"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_by_the_name_of_its_file(tmp_path, array, said):
    np.save(tmp_path / "the.npy", array)
    with pytest.raises(CalibrationError, match=said) as caught:
        read(tmp_path)
    assert "the.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["the.npz", "the.npy"])
def test_a_file_that_is_no_array_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK no archive")
    with pytest.raises(CalibrationError, match=f"{name}' cannot be read"):
        read(tmp_path)


def test_archives_that_do_not_name_the_inputs_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", left=np.zeros(3), right=np.zeros(3))
    with pytest.raises(CalibrationError, match=r"\['left', 'right'\], and the network takes 'x'"):
        read(tmp_path, InputSpec(name="x", shape=(3,)))


def test_one_array_and_a_picture_do_not_fit_two_inputs(tmp_path):
    specs = InputSpec(name="a", shape=(3,)), InputSpec(name="b", shape=(3,))
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(CalibrationError, match="with the arrays 'a', 'b'"):
        read(tmp_path, *specs)
    Image.new("RGB", (2, 2)).save(tmp_path / "0.png")
    with pytest.raises(CalibrationError, match=r"is a picture, and the network takes float32 \[3"):
        read(tmp_path, *specs)


def test_inputs_with_different_numbers_of_samples_are_refused(tmp_path):
    specs = InputSpec(name="a", shape=(3,)), InputSpec(name="b", shape=(3,))
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 3)), b=np.zeros((4, 3)))
    with pytest.raises(CalibrationError, match="'a' 2, 'b' 4"):
        read(tmp_path, *specs)


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 2, 2)), label=[0.5, 1.0])
    with pytest.raises(CalibrationError, match="labels of the shape"):
        read(tmp_path)


@pytest.mark.parametrize("shape", [(3, 50_000, 50_000), (2**40,)])
def test_a_sample_that_no_memory_holds_is_refused_before_a_file_is_read(tmp_path, shape):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(CalibrationError, match=r"takes [\d,]+ bytes.*268,435,456"):
        read(tmp_path, InputSpec(name="x", shape=shape))


def test_whole_numbers_that_would_wrap_around_are_refused_and_not_changed(tmp_path):
    wanted = InputSpec(name="x", shape=(2,), dtype="uint8")
    np.save(tmp_path / "a.npy", np.array([1, 255], np.int64))
    assert read(tmp_path, wanted)[0].inputs[0].tolist() == [1, 255]
    np.save(tmp_path / "a.npy", np.array([1, 300], np.int64))
    with pytest.raises(CalibrationError, match="from 1 to 300 for 'x', which takes uint8"):
        read(tmp_path, wanted)
