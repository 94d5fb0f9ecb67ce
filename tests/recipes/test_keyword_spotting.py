"""The recipe in small, as a user types it: from words that are spoken to an Arduino's project.

Whether the default run reaches its accuracy takes minutes: benchmarks/keyword_spotting.py.
"""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from torchedge.data import CLASSES
from torchedge.errors import MissingDependencyError
from torchedge.exporting import load_artifact

ROOT = Path(__file__).parents[2]
RECIPE, EXPORT = ROOT / "recipes/keyword_spotting.py", ROOT / "scripts/export.py"

pytestmark = pytest.mark.slow


def run(script, *words, cwd):
    command = [sys.executable, str(script), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a run with few clips and few passes has written, and what it has printed."""
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("torchaudio")
    place = tmp_path_factory.mktemp("keywords")
    passes = ("--epochs", 24, "--teacher-epochs", 1, "--qat-epochs", 1)
    done = run(RECIPE, "--clips", 1500, *passes, "--out", "trained", cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "trained", done.stdout


@pytest.fixture(scope="module")
def project(trained):
    """The folder that the export of it has written, and what that has printed."""
    from torchedge_tflite.process import find_converter

    pytest.importorskip("tflite_micro")
    try:
        find_converter()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    folder = trained[0].parent / "project"
    words = ("--target", "arduino-nano-33-ble", "--out", folder)
    done = run(EXPORT, trained[0], *words, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_words_of_voices_that_were_never_heard_are_recognised_far_above_chance(trained):
    metrics = load_artifact(trained[0]).metrics
    # One class of twelve by chance: 8 %, and after so few passes no more than a floor can be named.
    assert metrics["float_accuracy"] > 0.4
    assert metrics["fake_quantized_accuracy"] > 0.4
    assert "teacher_accuracy" in metrics
    assert f"float_accuracy {metrics['float_accuracy']:.1%}" in trained[1]


def test_the_device_is_told_the_classes_and_what_to_do_with_coefficients(trained):
    artifact = load_artifact(trained[0])
    assert artifact.class_names == CLASSES
    assert len(artifact.normalisation.mean) == len(artifact.normalisation.deviation) == 40


def test_spoken_clips_are_kept_for_the_next_run(trained):
    (kept,) = (trained[0].parent / "runs/clips").iterdir()
    assert load_artifact(kept).format == "keywords"


def test_litert_and_tflite_micro_answer_like_pytorch(project):
    report = json.loads((project[0] / "report.json").read_text())
    stages = report["stages"]
    assert len(stages) == 5
    for stage in stages[2:]:
        assert stage["parity"]["samples"] == 2000
        assert stage["parity"]["top1_agreement"] >= 0.995
        # TensorFlow Lite Micro rounds twice in each layer; its simulator is equal to it elsewhere.
        assert stage is stages[4] or stage["parity"]["outputs"][0]["max_lsb"] <= 1.001
        assert abs(stage["accuracy"] - stages[1]["accuracy"]) <= 0.005


def test_the_model_has_50_kilobytes_at_most_and_integer_operators_only(project):
    from torchedge_tflite.flatbuffer import read_model

    path = load_artifact(project[0] / "tflite-micro").file("model.tflite")
    assert path.stat().st_size <= 50_000
    assert {operator.name for operator in read_model(path).operators} == {
        *("RESHAPE", "CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED")
    }


def test_the_board_has_room_for_it_part_by_part(project):
    folder, printed = project
    memories = json.loads((folder / "report.json").read_text())["fit"]["memories"]
    assert [memory["kind"] for memory in memories] == ["flash", "RAM"]
    for memory in memories:
        assert sum(part["bytes"] for part in memory["parts"]) < memory["limit_bytes"]
        assert {part["evidence"] for part in memory["parts"]} == {"measured", "estimated"}
    assert "Flash: " in printed
    assert "tensor arena" in printed


def write_tree(folder):
    """Sixteen speakers of each word, one of them to validate and one to test with."""
    generator = np.random.default_rng(0)
    words = [*CLASSES[:10], "cat", "_background_noise_"]
    for place, word in enumerate(words):
        (folder / word).mkdir(parents=True)
        for speaker in range(16):
            tone = np.sin((0.05 + 0.1 * place) * np.arange(16_000))
            tone[: 16_000 // 3] = 0  # what sounds all the time is no word: it goes with the mean
            samples = 6000 * tone + 300 * generator.standard_normal(16_000)
            with wave.open(str(folder / word / f"{speaker}.wav"), "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(16_000)
                sound.writeframes(samples.astype("<i2").tobytes())
    for name, speaker in (("validation_list.txt", 14), ("testing_list.txt", 15)):
        (folder / name).write_text("".join(f"{word}/{speaker}.wav\n" for word in words[:11]))


def test_speech_commands_are_taken_from_a_folder(tmp_path):
    pytest.importorskip("torchaudio")
    write_tree(tmp_path / "speech_commands")
    passes = ("--epochs", 30, "--teacher-epochs", 0, "--qat-epochs", 0)
    words = ("--data", "speech-commands", "speech_commands", *passes, "--out", "trained")
    done = run(RECIPE, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = load_artifact(tmp_path / "trained").metrics
    assert set(metrics) == {"float_accuracy", "post_training_accuracy", "fake_quantized_accuracy"}
    assert metrics["float_accuracy"] >= 0.75  # tones, which are told apart by ear
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "speech-commands"), "name it: --data speech-commands FOLDER"),
        (("--data", "speech-commands", "."), "holds no validation_list.txt"),
    ],
)
def test_a_users_mistake_is_one_line_and_nothing_is_written(words, message, tmp_path):
    done = run(RECIPE, *words, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in line
    assert not list(tmp_path.iterdir())
