"""The written project, by compilers and by a stand-in for the library that computes nothing."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.exporters.torchedge_tflite_micro.models import dense
from torchedge.exporting import Normalisation
from torchedge_tflite_micro.boards import BOARDS
from torchedge_tflite_micro.step import TFLiteToMicro

STAND_IN = Path(__file__).parent / "stand_in"
STRICT = ["-Wall", "-Wextra", "-Werror"]
PLAIN = ("model", "settings", "golden")  # what needs no library
HOST = shutil.which("g++")
ARM = shutil.which("arm-none-eabi-g++")

pytestmark = pytest.mark.skipif(HOST is None, reason="g++ is not installed")

ANSWERS = """
#include <string.h>
#include "golden.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
const size_t stand_in_input_bytes = @::kInputBytes;
const size_t stand_in_output_bytes = @::kOutputBytes;
void stand_in_invoke(const int8_t* input, int8_t* output) {
  memset(output, 0, stand_in_output_bytes);
  for (int run = 0; run < @::kGoldenCount; ++run) {
    if (memcmp(input, @::kGoldenInputs[run], stand_in_input_bytes) != 0) continue;
    memcpy(output, @::kGoldenOutputs[run], stand_in_output_bytes);
    output[0] = static_cast<int8_t>(output[0] + OFF_BY);
  }
}
"""
SKETCH = """
#include <Arduino.h>
#include "{sketch}"
int main() {{ setup(); loop(); return 0; }}
"""


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def project(tflite_artifact, out):
    """Folder of the project of a linear layer called ``class``, a keyword, with three classes."""
    names = ("yes", 'say "no"', "größer")
    normalisation = Normalisation(mean=(3.0, -1e-7), deviation=(1.0, 0.1))
    source = tflite_artifact(dense(), name="class", class_names=names, normalisation=normalisation)
    TFLiteToMicro(board=BOARDS["arduino-nano-33-ble"]).export(source, out)
    return out / "class_model"


@pytest.mark.parametrize("part", PLAIN)
@pytest.mark.parametrize("golden", [0, 1])
def test_what_needs_no_library_compiles_without_a_warning(project, tmp_path, part, golden):
    macro = f"-DCLASS_MODEL_GOLDEN_TEST={golden}"
    options = [*STRICT, "-Wconversion", "-std=c++11", macro]
    run(HOST, *options, "-c", project / "src" / f"{part}.cpp", "-o", tmp_path / "part.o")


@pytest.mark.skipif(ARM is None, reason="arm-none-eabi-g++ is not installed")
@pytest.mark.parametrize("part", PLAIN)
def test_it_compiles_for_a_cortex_m4_without_a_c_library(project, tmp_path, part):
    core = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
    options = [*STRICT, "-Wdouble-promotion", "-ffreestanding", "-fno-exceptions", "-Os"]
    run(ARM, *core, *options, "-c", project / "src" / f"{part}.cpp", "-o", tmp_path / "part.o")


def built(project, tmp_path, *, off_by=0, tolerance=0):
    answers = tmp_path / "answers.cpp"
    answers.write_text(ANSWERS.replace("@", "class_model"))
    macros = [f"-DOFF_BY={off_by}", f"-DCLASS_MODEL_GOLDEN_TOLERANCE={tolerance}"]
    includes = ["-I", project / "src", "-I", STAND_IN]
    files = [*(project / "src").glob("*.cpp"), project / "apps/main.cpp", answers]
    run(HOST, *STRICT, *macros, *includes, *files, "-o", tmp_path / "program")
    return subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=False)


def test_the_device_knows_what_the_input_went_through(project, tmp_path):
    main = tmp_path / "main.cpp"
    main.write_text("""
        #include <stdio.h>
        #include "settings.h"
        int main() {
          for (const auto& channel : class_model::kNormalised) {
            printf("%.9g %.9g\\n", channel.mean, channel.deviation);
          }
        }
    """)
    files = ["-I", project / "src", main, project / "src/settings.cpp"]
    run(HOST, *STRICT, "-std=c++11", *files, "-o", tmp_path / "program")
    # As float32 prints with nine digits.
    assert run(tmp_path / "program") == "3 1\n-1.00000001e-07 0.100000001\n"


def test_the_golden_test_passes_where_the_device_answers_alike(project, tmp_path):
    done = built(project, tmp_path)
    assert done.returncode == 0
    assert "arena_used_bytes=15\ngolden_test_differences=0\nclass=yes\n" in done.stdout


def test_the_golden_test_counts_every_value_that_differs(project, tmp_path):
    """Four runs, the first of three values one step off in each."""
    done = built(project, tmp_path, off_by=1)
    assert done.returncode == 1
    assert "golden_test_differences=4\n" in done.stdout


def test_a_step_within_the_tolerance_is_no_difference(project, tmp_path):
    assert built(project, tmp_path, off_by=1, tolerance=1).returncode == 0
    assert built(project, tmp_path, off_by=2, tolerance=1).returncode == 1


def test_the_sketch_compiles_as_arduino_compiles_it_and_prints(project, tmp_path):
    main, answers = tmp_path / "sketch.cpp", tmp_path / "answers.cpp"
    main.write_text(SKETCH.format(sketch=project / "class_model.ino"))
    answers.write_text(ANSWERS.replace("@", "class_model"))
    includes = ["-I", project, "-I", project / "src", "-I", STAND_IN]
    files = [*(project / "src").glob("*.cpp"), main, answers]
    options = [*STRICT, "-DARDUINO=10819", "-DOFF_BY=0"]
    run(HOST, *options, *includes, *files, "-o", tmp_path / "sketch")
    lines = run(tmp_path / "sketch").splitlines()
    assert lines == [
        "arena_used_bytes=15",
        "golden_test_differences=0",
        "latency_us=0 class=yes",
    ]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_the_library_and_asks_for_the_headers(project, tmp_path):
    build = tmp_path / "build"
    asked = subprocess.run(
        ["cmake", "-S", project, "-B", build], capture_output=True, text=True, check=False
    )
    assert asked.returncode != 0
    assert "set TFLITE_MICRO_INCLUDE_DIRS" in asked.stderr
    run("cmake", "-S", project, "-B", build, f"-DTFLITE_MICRO_INCLUDE_DIRS={STAND_IN}")
    run("cmake", "--build", build, "--target", "class_model")


HELPERS = """
#include <stdio.h>
#include <string.h>
#include "settings.h"
int main() {
  float value;
  while (fread(&value, sizeof value, 1, stdin) == 1) {
    const int8_t step = class_model::quantise(value, class_model::kInputs[0]);
    const float back = class_model::dequantise(step, class_model::kInputs[0]);
    fwrite(&step, 1, 1, stdout);
    fwrite(&back, sizeof back, 1, stdout);
  }
  return strcmp(class_model::kClassNames[class_model::CLASS_GROSSER], "gr\\303\\266\\303\\237er");
}
"""


def test_the_helpers_round_like_training(project, tmp_path):
    """Halves, ends, values beyond them, and NaN; the input has scale 1/128 and zero point 0."""
    main = tmp_path / "helpers.cpp"
    main.write_text(HELPERS)
    files = [main, project / "src/settings.cpp"]
    run(HOST, *STRICT, "-I", project / "src", *files, "-o", tmp_path / "helpers")
    halves = np.arange(-260, 261, dtype=np.float32) / 2 / 128
    values = np.concatenate([halves, np.random.default_rng(0).normal(0, 1, 500)]).astype("f4")
    done = subprocess.run(
        [tmp_path / "helpers"], input=values.tobytes(), capture_output=True, check=True
    )
    found = np.frombuffer(done.stdout, [("step", "i1"), ("back", "<f4")])
    wanted = np.clip(np.rint(values * 128), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(found["step"], wanted)
    np.testing.assert_array_equal(found["back"], wanted.astype(np.float32) / 128)
    nan = subprocess.run(
        [tmp_path / "helpers"], input=np.float32("nan").tobytes(), capture_output=True, check=True
    )
    assert nan.stdout[0:1] == b"\x80"
