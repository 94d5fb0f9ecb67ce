"""What ``import torchedge`` offers, and what it costs."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import torchedge


def test_every_name_that_is_offered_is_there_and_can_be_called():
    for name in torchedge.__all__:
        found = getattr(torchedge, name)
        assert name in dir(torchedge)
        assert name == "__version__" or callable(found), name


def test_a_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'quantise'"):
        torchedge.quantise  # noqa: B018


def test_importing_it_imports_no_other_package_than_its_own():
    code = (
        "import sys; before = set(sys.modules); import torchedge; "
        "names = {n.partition('.')[0] for n in set(sys.modules) - before}; "
        "print(sorted(names - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['torchedge']"


def test_no_room_or_file_of_the_package_takes_the_place_of_a_name():
    rooms = {info.name for info in pkgutil.iter_modules(torchedge.__path__)}
    assert rooms.isdisjoint(torchedge.__all__)
    for room in rooms - {"cli"}:
        importlib.import_module(f"torchedge.{room}")
    assert all(callable(getattr(torchedge, n)) for n in torchedge.__all__ if n != "__version__")


def test_a_variant_of_a_target_is_asked_for_by_name():
    assert "JetPack 5.1" in torchedge.target("jetson", jetpack="5.1").summary
    assert torchedge.target("jetson").name in torchedge.targets()
