"""A tree laid out like Speech Commands v2, with a sound of its own in every file."""

import shutil
import wave

import numpy as np
import pytest
import torch

from torchedge.data import keyword_parts, speech_commands
from torchedge.data.keywords import KEYWORDS, SILENCE, UNKNOWN
from torchedge.data.mfcc import coefficients
from torchedge.data.speech_commands import read_wave
from torchedge.data.spoken_keywords import SpokenKeywords
from torchedge.errors import DataError

SPEAKERS = ("aaaa_nohash_0", "bbbb_nohash_0", "cccc_nohash_0", "dddd_nohash_0")
WORDS = (*KEYWORDS, "cat", "marvin")


def write_wave(path, samples, *, channels=1, width=2, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(np.asarray(samples, f"<i{width}").tobytes())


def tone(word, speaker):
    """Unmistakably this word by this speaker."""
    hertz = 200 + 150 * WORDS.index(word) + 20 * SPEAKERS.index(speaker)
    return 8000 * np.sin(2 * np.pi * hertz * np.arange(15_000) / 16_000)


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech_commands")
    for word in WORDS:
        for speaker in SPEAKERS:
            write_wave(folder / word / f"{speaker}.wav", tone(word, speaker))
    noise = np.random.default_rng(0).integers(-9000, 9000, 40_000)
    write_wave(folder / "_background_noise_/white_noise.wav", noise)
    (folder / "_background_noise_/README.md").write_text("who recorded it")
    (folder / "LICENSE").write_text("CC BY 4.0")
    for name, speaker in (("validation_list.txt", SPEAKERS[2]), ("testing_list.txt", SPEAKERS[3])):
        (folder / name).write_text("".join(f"{word}/{speaker}.wav\n" for word in WORDS))
    return folder


@pytest.fixture
def folder(master, tmp_path):
    return shutil.copytree(master, tmp_path / "speech_commands")


def heard(features, word, speaker):
    """Whether one of the clips is this one, by its coefficients."""
    samples = torch.tensor(np.asarray(tone(word, speaker), "<i2").astype(np.float32)) / 2**15
    clip = torch.zeros(1, 16_000)
    clip[0, : len(samples)] = samples
    return bool(torch.isclose(features, coefficients(clip), atol=1e-2).all(2).all(1).any())


def test_speakers_of_the_lists_are_in_their_parts_and_in_no_other(master):
    parts = speech_commands(master)
    for part, speakers in (
        (parts.train, SPEAKERS[:2]),
        (parts.validation, SPEAKERS[2:3]),
        (parts.test, SPEAKERS[3:]),
    ):
        for word in KEYWORDS:
            found = [speaker for speaker in SPEAKERS if heard(part.features, word, speaker)]
            assert found == list(speakers)


def test_a_label_is_the_word_of_its_folder(master):
    test = speech_commands(master).test
    for i, word in enumerate(KEYWORDS):
        assert heard(test.features[test.labels == i], word, SPEAKERS[3])
    assert any(heard(test.features[test.labels == UNKNOWN], w, SPEAKERS[3]) for w in WORDS[-2:])


def test_of_other_words_and_of_silence_there_are_as_many_as_of_a_keyword(master):
    parts = speech_commands(master)
    assert parts.train.labels.bincount().tolist() == [2] * 12
    assert parts.test.labels.bincount().tolist() == [1] * 12
    assert (parts.train.labels == SILENCE).sum() == 2


def test_the_same_seed_chooses_the_same_clips(master):
    first, again, other = (speech_commands(master, seed=seed).train for seed in (3, 3, 4))
    assert torch.equal(first.features, again.features)
    assert not torch.equal(first.features, other.features)


def test_the_recipe_finds_it_by_name(master, tmp_path):
    parts = keyword_parts("speech-commands", master, SpokenKeywords(), tmp_path)
    assert len(parts.test.labels) == 12
    assert not list(tmp_path.iterdir())


def test_samples_are_read_as_shares_of_full_scale(tmp_path):
    write_wave(tmp_path / "a.wav", [-32768, 0, 16384])
    assert read_wave(tmp_path / "a.wav").tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize("name", ["validation_list.txt", "testing_list.txt"])
def test_a_folder_without_a_list_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"holds no {name}; unpack"):
        speech_commands(folder)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere' is no folder; unpack"):
        speech_commands(tmp_path / "nowhere")


def test_lacking_words_are_named(folder):
    shutil.rmtree(folder / "stop")
    shutil.rmtree(folder / "_background_noise_")
    with pytest.raises(DataError, match="no sounds of stop, _background_noise_; unpack"):
        speech_commands(folder)


def test_an_empty_list_is_refused(folder):
    (folder / "testing_list.txt").write_text("")
    with pytest.raises(DataError, match="the test part has 0 keywords and 0 other words"):
        speech_commands(folder)


def test_a_file_that_is_no_sound_is_named(folder):
    (folder / f"yes/{SPEAKERS[0]}.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=rf"yes/{SPEAKERS[0]}.wav' is no .wav file"):
        speech_commands(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 44_100}, "1 channels of 16 bits at 44,100 Hz"),
        ({"channels": 2}, "2 channels of 16 bits at 16,000 Hz"),
        ({"width": 1}, "1 channels of 8 bits at 16,000 Hz"),
    ],
)
def test_sound_of_another_kind_is_refused(tmp_path, options, message):
    write_wave(tmp_path / "a.wav", [0, 1, 2, 3], **options)
    with pytest.raises(DataError, match=f"a.wav' has {message}; give mono"):
        read_wave(tmp_path / "a.wav")
