"""The child process is ours; what it loads is skipped where espeakng-loader is not installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torchedge.data import espeak
from torchedge.data.espeak import ACCENTS, Utterance, speak, voice_families, voices
from torchedge.errors import DataError, MissingDependencyError

LIBRARY = "espeakng_loader"


@pytest.fixture(scope="module")
def installed():
    pytest.importorskip(LIBRARY)


def test_tunings_of_a_voice_are_one_family():
    names = ["klatt", "klatt2", "anika", "anikaRobot", "Mike", "mike2", "f1", "f2", "fast"]
    assert list(voice_families(names).values()) == [
        ("klatt", "klatt2"),
        ("anika", "anikaRobot"),
        ("Mike", "mike2"),
        ("f1", "f2"),
        ("fast",),
    ]


def test_there_are_many_voices_and_none_whispers(installed):
    names = voices()
    assert len(names) > 60
    # caleb has no voice at all, and does not say so in its name.
    assert not {"whisper", "whisperf", "caleb"} & {*names}
    assert {"m1", "f1", "Annie"} <= {*names}  # with 30 % of the usual voicing Annie still speaks


@pytest.mark.parametrize("accent", ACCENTS)
def test_every_accent_is_spoken_and_sounds_like_no_other(installed, accent):
    said = [Utterance(text="go", voice="f1", accent=a) for a in {accent, *ACCENTS[:2]}]
    waveforms, rate = speak(said)
    assert rate == 22_050
    assert len({w.tobytes() for w in waveforms}) == len(said)


def test_the_same_utterances_sound_the_same_again_even_in_voices_full_of_breath(installed):
    said = [Utterance(text=text, voice="f2") for text in ("yes", "no")]
    first, again, other = (speak(said, seed=seed)[0] for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_fast_word_is_shorter(installed):
    said = [Utterance(text="seven", voice="m1", words_per_minute=speed) for speed in (120, 220)]
    slow, fast = speak(said)[0]
    assert len(fast) < 0.8 * len(slow)


def test_a_pitch_is_heard(installed):
    said = [Utterance(text="no", voice="m1", pitch=pitch, pitch_range=0) for pitch in (30, 90)]
    low, high = (_hertz(waveform) for waveform in speak(said)[0])
    assert high > 1.5 * low


def _hertz(waveform, rate=22_050):
    """The strongest repetition between 60 and 250 times a second, by autocorrelation."""
    powers = np.abs(np.fft.rfft(waveform - waveform.mean(), 2 * len(waveform))) ** 2
    shortest = rate // 250
    return rate / (shortest + int(np.argmax(np.fft.irfft(powers)[shortest : rate // 60])))


def test_words_come_back_in_their_order_however_many_processes_speak(installed, monkeypatch):
    said = [Utterance(text=text, voice="f1") for text in ("no", "seven", "on", "marvin", "up")]
    together, _ = speak(said)
    monkeypatch.setattr(espeak, "_IN_ONE_PROCESS", 2)
    apart, _ = speak(said)
    lengths = [len(w) for w in together]
    assert [len(w) for w in apart] == pytest.approx(lengths, rel=0.02)
    assert len({*lengths}) == 5


def test_nothing_to_say_is_refused(installed):
    with pytest.raises(DataError, match="nothing to say"):
        speak([])


def test_an_unknown_voice_is_named_in_one_line(installed):
    said = [
        Utterance(text="yes", voice="f1"),
        Utterance(text="yes", voice="f1", accent="zz-nobody"),
    ]
    with pytest.raises(DataError, match=r"has no voice 'zz-nobody\+f1'") as refused:
        speak(said)
    assert "\n" not in str(refused.value)


def test_an_utterance_without_a_sound_is_refused(installed):
    with pytest.raises(DataError, match=r"says nothing for Utterance\(text=' '"):
        speak([Utterance(text=" ", voice="f1")])


def test_a_process_that_does_not_end_is_given_up(installed, monkeypatch):
    def run(self, program):
        assert program.limit_s == 300
        raise subprocess.TimeoutExpired(program.command, 300)

    monkeypatch.setattr(espeak.Children, "run", run)
    with pytest.raises(DataError, match="did not finish within 300 s"):
        speak([Utterance(text="yes", voice="f1")])


@pytest.mark.parametrize("call", [voices, lambda: speak([Utterance(text="yes", voice="f1")])])
def test_without_espeak_ng_the_pip_line_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARY, None)
    with pytest.raises(MissingDependencyError, match=r"pip install espeakng-loader$"):
        call()


def test_this_process_never_loads_the_library(installed):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux says what a process has loaded")
    speak([Utterance(text="yes", voice="f1")])
    assert "libtorch" in maps.read_text()
    assert "espeak-ng" not in maps.read_text()
