import importlib.metadata
import itertools
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchedge.data.espeak import Utterance, voice_families
from torchedge.data.kept_keywords import PARTS
from torchedge.data.keywords import CLASSES, KEYWORDS, OTHER_WORDS, SILENCE, UNKNOWN
from torchedge.data.spoken_keywords import SpokenKeywords, split_voices, spoken_keywords
from torchedge.errors import ArtifactError, DataError, MissingDependencyError

ROOM = sys.modules[SpokenKeywords.__module__]  # a function of it has its name
FEW = SpokenKeywords(clips=36, validation_clips=12, test_clips=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a small set was made, once."""
    pytest.importorskip("espeakng_loader")
    place = tmp_path_factory.mktemp("clips")
    spoken_keywords(FEW, place)
    return place


class Said(list):
    """What would be said, and the voices that are made for it."""


@pytest.fixture
def said(monkeypatch):
    """What would be said; every word is a click."""
    utterances, more = Said(), {}
    utterances.more_voices = more

    def speak(these, *, seed, more_voices):
        more.update(more_voices or {})
        utterances.extend(these)
        return tuple(torch.ones(100).mul(2**14).short().numpy() for _ in these), 22_050

    monkeypatch.setattr(ROOM, "speak", speak)
    return utterances


def test_each_part_has_as_many_clips_as_asked_for(folder):
    parts = spoken_keywords(FEW, folder)
    for part, count in ((parts.train, 36), (parts.validation, 12), (parts.test, 24)):
        assert part.features.shape == (count, 40, 49)
        assert part.features.isfinite().all()
        assert part.labels.shape == (count,)


def test_kept_clips_are_read_and_not_spoken_again(folder, monkeypatch):
    first = spoken_keywords(FEW, folder)
    monkeypatch.setattr(ROOM, "speak", None)
    again = spoken_keywords(FEW, folder)
    assert torch.equal(first.train.features, again.train.features)
    assert torch.equal(first.test.labels, again.test.labels)


def test_the_same_settings_make_the_same_clips_and_another_seed_others(folder, tmp_path):
    first, again = (spoken_keywords(FEW, place) for place in (folder, tmp_path))
    other = spoken_keywords(replace(FEW, seed=1), folder)
    assert torch.equal(first.train.features, again.train.features)
    assert not torch.equal(first.test.features, other.test.features)
    assert len(list(folder.iterdir())) == 2


def test_damaged_clips_are_refused_and_so_are_those_of_other_settings(folder, tmp_path):
    (kept,) = (p for p in folder.iterdir() if FEW.fingerprint().startswith(p.name[-16:]))
    other = replace(FEW, seed=2)
    exchanged = tmp_path / f"spoken-{other.fingerprint()[:16]}"
    subprocess.run(["cp", "-r", str(kept), str(exchanged)], check=True)
    with pytest.raises(ArtifactError, match="clips of other settings"):
        spoken_keywords(other, tmp_path)
    file = exchanged / "clips.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="changed after the export"):
        spoken_keywords(other, tmp_path)


@given(
    st.sets(st.sampled_from([f"{name}{n}" for name in "abcdefgh" for n in ("", "2", "3")])),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 100),
)
def test_no_family_is_in_two_parts_and_no_voice_is_lost(names, validation, test, seed):
    try:
        parts = split_voices(sorted(names), (validation, test), seed)
    except DataError:
        # A family has up to three voices, so each part can take two more than it asked for.
        assert len(names) <= validation + test + 4 + 2
        return
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(len(p) >= least for p, least in zip(parts, (1, validation, test), strict=True))
    families = [set(voice_families(part)) for part in parts]
    assert not families[0] & families[1]
    assert not families[0] & families[2]
    assert not families[1] & families[2]


def test_test_voices_never_speak_in_training(folder, said, tmp_path):
    settings = replace(FEW, clips=600, test_clips=300, validation_clips=150)
    spoken_keywords(settings, tmp_path)
    counts = [sum(label != SILENCE for label in _labels(settings, p)) for p in PARTS]
    bounds = [0, counts[0], counts[0] + counts[1], sum(counts)]
    heard = [{u.voice for u in said[a:b]} for a, b in itertools.pairwise(bounds)]
    assert len(said) == sum(counts)
    assert len({*heard[0]} - {*said.more_voices}) >= 50
    assert len(heard[0] & {*said.more_voices}) >= 100
    assert not (heard[1] | heard[2]) & {*said.more_voices}
    assert len(heard[2]) >= 20
    assert not heard[0] & heard[2]
    assert not heard[0] & heard[1]
    assert not heard[1] & heard[2]


def _labels(settings, part):
    draw = random.Random(f"{settings.seed} {part}")
    counts = {
        "train": settings.clips,
        "validation": settings.validation_clips,
        "test": settings.test_clips,
    }
    return [draw.randrange(len(CLASSES)) for _ in range(counts[part])]


def test_what_is_said_varies_over_the_whole_of_every_range(folder, said, tmp_path):
    spoken_keywords(replace(FEW, clips=2000), tmp_path)
    assert {u.text for u in said} == {*KEYWORDS, *OTHER_WORDS}
    assert len({u.accent for u in said}) == 6
    for name, low, high in (("words_per_minute", 120, 220), ("pitch", 20, 80)):
        values = {getattr(u, name) for u in said}
        assert (min(values), max(values)) == (low, high)


def test_words_to_train_with_are_played_faster_and_slower_and_no_others(
    said, folder, tmp_path, monkeypatch
):
    lengths, placed = [], ROOM.placed

    def measured(word, length, generator):
        lengths.append(len(word))
        return placed(word, length, generator)

    monkeypatch.setattr(ROOM, "placed", measured)
    spoken_keywords(replace(FEW, clips=400), tmp_path)
    # Every word is 100 samples long when it is spoken; silence has none.
    train, others = set(lengths[:400]) - {0}, set(lengths[400:]) - {0}
    assert train == {100 * 16_000 // hertz for hertz in range(18_000, 27_001, 1000)}
    assert others == {100 * 16_000 // 22_050}


def test_a_label_says_what_was_said(said, folder, tmp_path):
    parts = spoken_keywords(FEW, tmp_path)
    labels = torch.cat([parts.train.labels, parts.validation.labels, parts.test.labels]).tolist()
    wanted = [label for label in labels if label != SILENCE]
    assert len(wanted) == len(said)
    for label, utterance in zip(wanted, said, strict=True):
        assert isinstance(utterance, Utterance)
        assert utterance.text in (OTHER_WORDS if label == UNKNOWN else KEYWORDS[label])


def test_words_are_heard_in_noise_of_the_ratio_that_is_asked_for(folder, tmp_path):
    """The 0th coefficient is the mean loudness in decibels: noise lifts that of silent frames.

    Its mean over a second is gone, but not how far it reaches.
    """
    quiet, loud = (
        spoken_keywords(replace(FEW, test_snr_db=snr_db), tmp_path).test for snr_db in (60.0, 0.0)
    )
    assert torch.equal(quiet.labels, loud.labels)
    spoken = quiet.labels != SILENCE
    firsts = [part.features[spoken, 0] for part in (quiet, loud)]
    ranges = [(first.amax(1) - first.amin(1)).mean() for first in firsts]
    # 40 mel bands of orthonormal weight 1/sqrt(40) each: 60 dB less noise is 60·sqrt(40) less,
    # were it not for the 80 dB below the loudest frame at which the coefficients end.
    assert ranges[0] - ranges[1] > 20 * 40**0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": 0}, r"\(0, 12, 24\).*give one or more of each"),
        ({"test_voices": 0}, r"\(8, 0\).*give one or more of each"),
        ({"snr_db": (20.0, 5.0)}, "the range 20.0 to 5.0 is empty"),
        ({"crossed_voices": -1}, r"-1 crossed voices; give 0 to 200"),
        ({"crossed_voices": 201}, r"201 crossed voices; give 0 to 200"),
        ({"pitch": (80, 20)}, "the range 80 to 20 is empty"),
        ({"played_hz": (27_000, 18_000)}, "the range 27000 to 18000 is empty"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        replace(FEW, **changes)


def test_too_few_voices_are_refused_with_the_numbers(folder, tmp_path):
    with pytest.raises(DataError, match=r"of 101 voices leave none to train with"):
        spoken_keywords(replace(FEW, test_voices=101), tmp_path)
    with pytest.raises(DataError, match=r"voices are left to train with, and 20 are the least"):
        spoken_keywords(replace(FEW, test_voices=80), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("espeakng-loader", "pip install espeakng-loader"),
        ("torchaudio", r"pip install 'torchedge\[recipes\]'"),
    ],
)
def test_a_missing_package_is_answered_with_its_pip_line(package, line, tmp_path, monkeypatch):
    def version(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(ROOM, "version", version)
    with pytest.raises(MissingDependencyError, match=line):
        spoken_keywords(FEW, tmp_path)
