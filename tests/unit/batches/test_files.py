import pytest

from torchedge.batches.files import sample_files
from torchedge.errors import CalibrationError


@pytest.fixture
def tree(tmp_path):
    def made(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return made


def test_sub_folders_are_classes_in_order_of_their_names_and_empty_ones_count(tree):
    folder = tree("b/1.png", "a/2.png", "a/1.JPG", ".git/x.png", "__MACOSX/y.png")
    (folder / "aa").mkdir()
    found = sample_files(folder)
    assert found.class_names == ("a", "aa", "b")
    assert found.labels == (0, 0, 2)
    assert [path.name for path in found.paths] == ["1.JPG", "2.png", "1.png"]


def test_one_sub_folder_is_no_class(tree):
    found = sample_files(tree("images/1.png", "images/2.png"))
    assert (found.labels, len(found.paths)) == ((), 2)


def test_hidden_and_other_files_are_left_out(tree):
    found = sample_files(tree("a.png", "._a.png", ".b.png", "notes.txt", "c.NPY"))
    assert [path.name for path in found.paths] == ["a.png", "c.NPY"]
    assert found.has_arrays
    assert found.has_pictures


def test_a_file_is_a_folder_of_itself(tree):
    assert len(sample_files(str(tree("all.npz") / "all.npz")).paths) == 1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.png", "b/c.png"], "beside the sub-folder 'b'"),
        (["train/a.png", "val/b.png"], "holds the parts train, val"),
        (["train/cat/a.png", "val/cat/b.png"], "hold only folders; name one of them"),
        (["a.heic", "b.heic", "c.txt"], "2 files that end in '.heic'"),
    ],
)
def test_what_is_in_no_one_place_is_refused(tree, names, said):
    with pytest.raises(CalibrationError, match=said):
        sample_files(tree(*names))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match="is no folder"):
        sample_files(tmp_path / "nowhere")


def test_a_file_that_is_no_sample_is_called_that(tmp_path):
    (tmp_path / "a.pt").touch()
    with pytest.raises(CalibrationError, match=r"a.pt' is no picture and no \.npy"):
        sample_files(tmp_path / "a.pt")
