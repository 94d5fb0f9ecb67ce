"""A share of ``python -m benchmarks.hostile``: nothing foreign runs, refusals are one line."""

import os
import random
import shutil
import subprocess
import sys
from functools import partial

import pytest

from benchmarks.hostile import wrong_with
from benchmarks.hostile_inputs.crafted_files import files, tensors
from benchmarks.hostile_inputs.crafted_graphs import onnx_files, tflite_files
from benchmarks.hostile_inputs.crafted_programs import programs
from benchmarks.hostile_inputs.crafted_values import bundles, caches, tickets
from benchmarks.hostile_inputs.mutations import spoiled
from benchmarks.hostile_inputs.opening import Outcome, tried
from benchmarks.hostile_inputs.server import programs_peak
from benchmarks.hostile_inputs.sources import sources

_HARMLESS = {"sizes behind the data", "unbind of millions"}  # they say the same in another way
_NOT_RUN = {"strides of zero"}  # such a file is counted here, and run by its compiler alone
_SPOILED = 60


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return sources(tmp_path_factory.mktemp("built"), ("onnx", "tensorrt-bundle", "edgetpu"))


@pytest.fixture
def copy(built, tmp_path):
    """Copies an artefact of a format beside a folder that nothing may touch."""

    def make(kind):
        (tmp_path / "outside").mkdir()
        return shutil.copytree(built[kind], tmp_path / "artefact"), tmp_path / "outside"

    return make


def named(makers):
    return [pytest.param(make, id=name) for name, make in makers if name not in _HARMLESS]


def refused(copy, kind, make):
    folder, outside = copy(kind)
    make(folder, outside)
    verdict, text = tried(folder, kind)
    assert verdict == "refused", text
    assert {path.name for path in outside.iterdir()} <= {"secret.bin"}
    assert {path.name for path in folder.parent.iterdir()} == {"artefact", "outside"}


@pytest.mark.parametrize("make", named(programs()))
def test_a_crafted_program_is_refused_in_one_line_and_runs_nothing(copy, make):
    refused(copy, "torch", make)


@pytest.mark.parametrize("make", named(files()))
def test_a_crafted_manifest_or_folder_is_refused_in_one_line(copy, make):
    refused(copy, "torch", make)


@pytest.mark.parametrize("make", named(tensors()))
def test_a_crafted_safetensors_file_is_refused_in_one_line(copy, make):
    refused(copy, "torch", make)


@pytest.mark.parametrize("make", named(onnx_files()))
def test_a_crafted_onnx_file_is_refused_in_one_line(copy, make):
    refused(copy, "onnx", make)


@pytest.mark.parametrize("make", named(caches()))
def test_a_crafted_cache_of_a_teacher_is_refused_in_one_line(copy, make):
    refused(copy, "teacher-cache", make)


@pytest.mark.parametrize("make", named(tickets()))
def test_a_crafted_ticket_is_refused_in_one_line(copy, make):
    refused(copy, "ticket", make)


@pytest.mark.parametrize("make", named([*bundles(), *onnx_files()]))
def test_a_crafted_bundle_is_refused_in_one_line_or_nothing_of_it_is_run(copy, make):
    folder, outside = copy("tensorrt-bundle")
    make(folder, outside)
    verdict, text = tried(folder, "tensorrt-bundle")
    assert verdict in {"accepted", "refused"}, text
    assert {path.name for path in folder.parent.iterdir()} == {"artefact", "outside"}


@pytest.mark.parametrize("make", named(e for e in tflite_files() if e[0] not in _NOT_RUN))
def test_a_crafted_file_for_the_edge_tpu_is_refused_in_one_line(copy, make):
    refused(copy, "edgetpu", make)


@pytest.mark.parametrize("kind", ["teacher-cache", "ticket"])
@pytest.mark.parametrize("make", named(e for e in files() if "samples" not in e[0]))
def test_a_crafted_manifest_of_a_cache_or_a_ticket_raises_nothing_raw(copy, kind, make):
    folder, outside = copy(kind)
    make(folder, outside)
    verdict, text = tried(folder, kind)
    assert verdict in {"accepted", "refused"}, text


@pytest.mark.parametrize("kind", ["torch", "onnx", "teacher-cache", "ticket"])
def test_a_sound_artefact_is_accepted(copy, kind):
    assert tried(copy(kind)[0], kind) == ("accepted", "")


@pytest.mark.parametrize("kind", ["torch", "onnx", "teacher-cache", "ticket"])
def test_an_artefact_spoiled_at_random_raises_nothing_raw(built, tmp_path, kind):
    for index in range(_SPOILED // 4):
        folder = shutil.copytree(built[kind], tmp_path / str(index))
        said = spoiled(folder, random.Random(f"suite {kind} {index}"))
        verdict, text = tried(folder, kind)
        assert verdict in {"accepted", "refused"}, f"{said}: {text}"


def test_what_must_not_be_is_told():
    outcome = partial(Outcome, name="one", file_bytes=10)
    assert wrong_with(outcome(verdict="accepted", events=("os.system",))).startswith("touched")
    assert wrong_with(outcome(verdict="hung")).startswith("hung")
    assert "bytes of memory" in wrong_with(outcome(verdict="refused", peak_bytes=10**9))
    assert not wrong_with(outcome(verdict="refused"))


def test_the_memory_of_a_program_that_was_started_is_counted():
    code = "import sys; held = bytearray(b'x' * 10**8); print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        program.stdout.readline()  # it holds them now
        found = programs_peak(os.getpid())
        program.stdin.close()
    assert 10**8 < found < 3 * 10**8
