import gc
import sys

import pytest

from benchmarks.peers.memory import peak_growth_mib
from benchmarks.peers.packages import attempted, package, quiet
from torchedge.errors import MissingDependencyError, NotRunError


def test_a_missing_peer_is_one_line_with_the_way_to_install_it():
    with pytest.raises(MissingDependencyError, match=r"^not run: pip install -e '\.\[bench\]'"):
        package("no_such_peer")


def test_a_benchmark_goes_on_without_a_peer(capsys):
    assert attempted("a peer", lambda: package("no_such_peer")) is None
    assert capsys.readouterr().out.count("\n") == 1


def test_an_error_of_a_peer_that_is_there_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        attempted("a peer", lambda: 1 / 0)


def test_what_a_peer_prints_is_kept_off_the_terminal(capsys):
    with quiet():
        sys.stdout.write("0 % ... 100 %")
        sys.stderr.write("deprecated")
    assert capsys.readouterr() == ("", "")


def test_memory_that_is_given_back_still_counts_at_its_peak():
    gc.collect()  # what other tests left must not be given back in between
    try:
        length, growth_mib = peak_growth_mib(lambda: len(b"x" * (256 << 20)))
    except NotRunError as error:
        pytest.skip(str(error))
    assert length == 256 << 20
    # The rest of the process may grow or shrink a little meanwhile; a quarter covers that.
    assert 192 < growth_mib < 320
