"""A full temporary folder is called that, whoever met with it first."""

import errno
import os
import tempfile

import pytest

from torchedge.errors import ExportError, StorageError, VerificationError
from torchedge.writing import space, staged_folder, temporary_folder
from torchedge.writing.places import temporary_place

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def full(monkeypatch, tmp_path):
    """The temporary folder has no room, all else has."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(
        space, "_free", lambda place: 512 if folder in (place, *place.parents) else 2**30
    )
    return folder


def said_inside(error, out):
    def work():
        with staged_folder(out), temporary_folder("x") as scratch:
            (scratch / "half").write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(StorageError) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("onnxruntime: system error number 28"),
        ExportError("eSpeak NG could not speak: OSError: [Errno 28] No space left on device"),
    ],
)
def test_a_full_temporary_folder_is_named_with_its_bytes(full, tmp_path, error):
    """It once was "replace the operation", or the folder of the result was called full."""
    said = said_inside(error, tmp_path / "out")
    assert f"the temporary folder '{full}' is full: 512 bytes free" in said
    assert "TMPDIR" in said
    assert list(full.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_another_failure_in_a_full_temporary_folder_stays_what_it_is(full):
    with pytest.raises(VerificationError, match="differs"), temporary_folder("x"):
        raise VerificationError("the output differs.")


def test_a_full_folder_of_the_result_is_not_called_a_full_temporary_folder(
    full, tmp_path, monkeypatch
):
    monkeypatch.setattr(space, "_free", lambda place: 2**30)
    said = said_inside(FULL, tmp_path / "out")
    assert f"cannot write '{tmp_path / 'out'}'" in said


def test_a_program_that_failed_for_want_of_room_is_told_from_one_that_failed(full, tmp_path):
    space.require_room(tmp_path, "ERROR: no such operation")
    space.require_room(tmp_path, "No space left on device")  # there is room; it was elsewhere
    with pytest.raises(StorageError, match="temporary folder"):
        space.require_room(full / "scratch", "Killed")


def test_where_no_temporary_folder_can_be_written_it_is_said(monkeypatch, tmp_path):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(os, "access", lambda *asked: False)
    with (
        pytest.raises(StorageError, match="no temporary folder can be written"),
        temporary_folder("x"),
    ):
        pytest.fail("work was done")
    with staged_folder(tmp_path / "out"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="its folders have other names")
def test_the_temporary_folder_is_found_without_writing_to_it(monkeypatch, tmp_path):
    """A kill while Python tried the folder left the file that it tried it with."""

    def written():
        pytest.fail("Python wrote a file to try the folder")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", written)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setenv("TEMP", str(tmp_path))
    assert temporary_place() == tmp_path
    with temporary_folder("x") as folder:
        assert folder.parent == tmp_path


def test_the_temporary_folder_that_a_program_chose_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert temporary_place() == tmp_path
