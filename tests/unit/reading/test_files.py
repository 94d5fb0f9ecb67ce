"""Files of strangers: regular ones, inside the folder, and no larger than such a file can be."""

import os
import tracemalloc
from pathlib import Path

import pytest

from torchedge.errors import ArtifactError
from torchedge.reading.bounds import Value, most_live_bytes
from torchedge.reading.files import open_regular, read_bounded, require_inside


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="no regular file"):
        open_regular(tmp_path / "pipe")


def test_a_device_is_refused():
    with pytest.raises(ArtifactError, match="no regular file"):
        read_bounded(Path(os.devnull), 10)


def test_a_file_below_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inside").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="a link"):
        require_inside(tmp_path / "folder", "inside/file")


def test_a_file_that_is_larger_than_it_can_be_is_not_read(tmp_path):
    with (tmp_path / "hole").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(ArtifactError, match="1,099,511,627,776 bytes, more than"):
        read_bounded(tmp_path / "hole", 2**20)


def test_reading_asks_for_no_more_memory_than_the_file_has(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"twelve bytes")
    tracemalloc.start()
    try:
        assert read_bounded(path, 2**30) == b"twelve bytes"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_lives_at_one_time_is_counted_until_its_last_reader():
    made = [[Value(name="x", bytes=8)], [Value(name="y", bytes=4)], [Value(name="z", bytes=2)]]
    assert most_live_bytes(made, [[], ["x"], ["y"]]) == 12
    assert most_live_bytes(made, [[], ["x"], ["y", "x"]]) == 14
    assert most_live_bytes(made, [[], ["x"], ["y"]], kept=["x"]) == 14
