"""A share of the campaign of kills: they lose nothing, and leave nothing."""

import sys

import pytest

from benchmarks.killed.trial import contents
from benchmarks.kills import campaign
from torchedge.exporting import Artifact, Format, write_artifact

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_sixteen_kills_lose_nothing_and_leave_nothing():
    found = list(campaign(["plain"], count=16, seed=5))
    assert [one for one in found if one.problems] == []
    assert {"new", "old", "none"} >= {one.next_state for one in found}
    assert len({one.signal for one in found}) > 2


def test_a_wrong_folder_is_told_from_a_whole_one(tmp_path):
    """The campaign's own measure: what is cut short or mixed has other contents."""
    (tmp_path / "file").write_bytes(b"whole")
    draft = Artifact(path=tmp_path, format=Format("a"), inputs=(), outputs=(), made_by=("x",))
    write_artifact(draft)
    whole = contents(tmp_path)
    (tmp_path / "file").write_bytes(b"whol")
    assert contents(tmp_path) != whole
    (tmp_path / "file").write_bytes(b"whole")
    assert contents(tmp_path) == whole
    (tmp_path / "more").write_bytes(b"")
    assert contents(tmp_path) != whole
    assert contents(tmp_path / "nowhere") == ""
