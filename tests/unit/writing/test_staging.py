"""Kills, full disks and two writers: one complete folder has the name, and nothing is left over."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from torchedge.errors import OutputExistsError, StorageError, UsageError
from torchedge.writing import staged_file, staged_folder, swap
from torchedge.writing.owners import this_process

MARKED = "// Written by torchedge; do not edit.\n"
KILLED = """
import sys, signal
from pathlib import Path
from torchedge.stopping import stop_in_one_line
from torchedge.writing import staged_folder, temporary_folder, swap
stop_in_one_line()
def die(*_):
    print("ready", flush=True)
    signal.pause()
if sys.argv[2] == "after exchange":
    swap.remove = die
if sys.argv[2] == "between renames":
    swap._renamed = lambda *_: False
    own, count = Path.rename, []
    def rename(path, place):
        own(path, place)
        die()
    Path.rename = rename
with staged_folder(Path(sys.argv[1]), overwrite=True) as staging, temporary_folder("x") as other:
    (staging / "half").write_text("half")
    (other / "half").write_text("half")
    if sys.argv[2] == "while writing":
        die()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder of our own, also for children."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def old_folder(place):
    (place / "out").mkdir()
    (place / "out/old.h").write_text(MARKED)
    return place / "out"


def killed(folder, number, moment="while writing"):
    """The process after it was killed at a moment of its work."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), moment],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, process.said = process.communicate()
    return process


def refusal(folder, *, overwrite):
    with pytest.raises(OutputExistsError) as caught, staged_folder(folder, overwrite=overwrite):
        pytest.fail("both went on")
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_polite_kill_leaves_nothing_and_says_one_line(place, temporary, number):
    process = killed(place / "new/out", number)
    assert process.returncode == 128 + number
    assert names(place) == names(temporary) == []
    (line,) = process.said.splitlines()
    assert line.startswith("error: ")


def test_after_a_hard_kill_the_next_one_cleans_up(place, temporary):
    killed(place / "out", signal.SIGKILL)
    assert not (place / "out").exists()
    assert len(names(place)) == 2  # what was half done, and the lock
    assert len(names(temporary)) == 1
    with staged_folder(place / "out") as staging:
        (staging / "whole").write_text("whole")
    assert names(place) == ["out"]
    assert names(temporary) == []


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_a_kill_right_after_the_exchange_leaves_the_new_folder(place):
    old = old_folder(place)
    killed(old, signal.SIGKILL, "after exchange")
    assert names(old) == ["half"]


def test_a_kill_between_two_renames_loses_nothing(place):
    """It once did: the old folder had a name that nobody looked for."""
    old = old_folder(place)
    killed(old, signal.SIGKILL, "between renames")
    assert not old.exists()
    with pytest.raises(OutputExistsError, match="--overwrite"), staged_folder(old):
        pass
    assert names(place) == ["out"]
    assert names(old) == ["old.h"]


def test_without_an_exchange_the_old_folder_is_replaced_all_the_same(place, monkeypatch):
    monkeypatch.setattr(swap, "_renamed", lambda *_: False)
    old = old_folder(place)
    with staged_folder(old, overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert names(place) == ["out"]
    assert names(old) == ["new"]


def test_a_failing_second_rename_puts_the_old_folder_back(place, monkeypatch):
    monkeypatch.setattr(swap, "_renamed", lambda *_: False)
    old = old_folder(place)
    with pytest.raises(FileNotFoundError), staged_folder(old, overwrite=True) as staging:
        staging.rmdir()
    assert names(place) == ["out"]
    assert names(old) == ["old.h"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_at_once_one_wins_and_the_other_says_so(place, overwrite):
    """Both once ended with 0, and one output vanished."""
    old = old_folder(place) if overwrite else place / "out"
    with staged_folder(old, overwrite=overwrite) as staging:
        (staging / "first").write_text("first")
        assert "is writing" in refusal(old, overwrite=overwrite)
    assert names(place) == ["out"]
    assert names(old) == ["first"]


def test_two_processes_exclude_each_other(place):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(place / "out"), "while writing"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    said = refusal(place / "out", overwrite=True)
    assert said.startswith(f"process {process.pid} is writing")
    process.kill()
    process.communicate()
    with staged_folder(place / "out", overwrite=True):
        pass
    assert names(place) == ["out"]


def test_what_comes_under_the_name_from_elsewhere_is_kept(place):
    def write():
        with staged_folder(place / "out") as staging:
            (staging / "new").write_text("new")
            (place / "out").mkdir()

    with pytest.raises(OutputExistsError):
        write()
    assert names(place) == ["out"]
    assert names(place / "out") == []


def test_the_folders_of_others_are_left_alone(place, temporary):
    """Of a process that is alive, of another host, and of somebody with a similar name."""
    own = this_process()
    others = [
        f".out.partial-{own.machine}-1-{own.started}-mine",
        f".out.partial-0123456789-{own.pid}-{own.started}",
        f".out.replaced-0123456789-{own.pid}-{own.started}",
        ".out.partial-17",
        f".out2.partial-{own}",
    ]
    for name in others:
        (place / name).mkdir()
    elsewhere = temporary / "torchedge-x-0123456789-1-1-abcdefgh"
    elsewhere.mkdir()
    (place / "out").mkdir()
    with staged_folder(place / "out", overwrite=True):
        pass
    assert names(place) == sorted([*others, "out"])
    assert elsewhere.exists()


def test_an_error_leaves_no_new_folder_above(place):
    with pytest.raises(ValueError, match="broken"), staged_folder(place / "a/b/out"):
        raise ValueError("broken")
    assert names(place) == []


def test_a_full_disk_is_one_line_with_the_free_bytes(place):
    said = r"No space left on device; [\d,]+ bytes are free"
    with pytest.raises(StorageError, match=said), staged_folder(place / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(place) == []


def test_a_very_long_name_is_written_like_any_other(place):
    name = "n" * 250
    with staged_folder(place / name):
        pass
    assert names(place) == [name]


def test_a_new_file_appears_when_it_is_complete(place):
    def write():
        with staged_file(place / "cache") as partial:
            partial.write_text("half", encoding="utf-8")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write()
    assert names(place) == []
    with staged_file(place / "cache") as partial:
        partial.write_text("whole", encoding="utf-8")
    assert names(place) == ["cache"]
    with pytest.raises(OutputExistsError), staged_file(place / "cache"):
        pytest.fail("work was done")


def test_the_owner_of_a_folder_that_was_given_its_number_anew_is_gone():
    from dataclasses import replace

    from torchedge.writing.owners import is_gone, parsed_owner

    own = this_process()
    assert parsed_owner(str(own)) == own
    assert not is_gone(own)
    assert is_gone(replace(own, started=own.started + 1)) or not Path("/proc").exists()
    assert not is_gone(replace(own, machine="0123456789", pid=2**22 + 1))
    assert is_gone(replace(own, pid=2**22 + 1))


def test_leftovers_go_even_where_the_next_one_is_refused(place, temporary):
    old = old_folder(place)
    killed(old, signal.SIGKILL)
    assert len(names(place)) == 3
    assert "--overwrite" in refusal(old, overwrite=False)
    assert names(place) == ["out"]
    assert names(temporary) == []


@pytest.mark.parametrize("name", ["a" * 300, "ä" * 130, "a\0b"])
def test_a_name_that_no_file_system_takes_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(UsageError, match="is no name of a file"), staged_folder(tmp_path / name):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"tmp"}


def test_a_folder_that_takes_no_files_is_called_that(tmp_path, monkeypatch):
    def refused(path, flags, mode):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr("torchedge.writing.locks.os.open", refused)
    with pytest.raises(StorageError, match="takes no files"), staged_folder(tmp_path / "out"):
        pass
