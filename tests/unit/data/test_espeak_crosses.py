"""New voices between those of eSpeak NG."""

import random

import numpy as np
import pytest

from torchedge.data.espeak import Utterance, speak, voice_files, voices
from torchedge.data.espeak_crosses import crossed_voices

LOW = "name low\nformant 1 80 100 90\nroughness 2\nflutter 20\necho 30 // a comment\n"
HIGH = "##\nname high\nformant 1 120 60 110\nroughness 6\nflutter 40\nformant 2 100 0 100\n"


def children(names, count=200, seed=0):
    """Numbers of each new voice, by key."""
    texts = crossed_voices({"low": LOW, "high": HIGH, "no": "?"}, names, count, random.Random(seed))
    lines = [[line.split() for line in text.splitlines()[2:]] for text in texts.values()]
    return [{key: [int(v) for v in values] for key, *values in rows} for rows in lines]


def test_what_both_parents_state_lies_between_theirs():
    for child in children(["low", "high"]):
        if child["formant"][0] == 1:
            assert 80 * 0.92 - 1 <= child["formant"][1] <= 120 * 1.08 + 1
            assert 60 <= child["formant"][2] <= 100
        assert child["roughness"] in ([2], [6])
        assert 20 <= child["flutter"][0] <= 40


def test_what_one_parent_states_is_taken_over_now_and_then():
    echoes = sum("echo" in child for child in children(["low", "high"]))
    assert 50 < echoes < 150
    assert all(child.get("echo", [30]) == [30] for child in children(["low", "high"]))


def test_only_named_voices_are_parents():
    assert all(child["flutter"] == [20] for child in children(["low"]))


def test_the_same_draw_makes_the_same_voices_and_another_others():
    assert children(["low", "high"]) == children(["low", "high"])
    assert children(["low", "high"]) != children(["low", "high"], seed=1)


def test_new_voices_speak_beside_the_old_ones_which_sound_as_ever():
    pytest.importorskip("espeakng_loader")
    more = crossed_voices(voice_files(), voices(), 200, random.Random(0))
    said = [Utterance(text="go", voice=v, accent="en-gb-x-gbcwmd") for v in ("f1", *list(more)[:5])]
    waveforms, _ = speak(said, more_voices=more)
    assert len({w.tobytes() for w in waveforms}) == len(said)
    assert np.array_equal(waveforms[0], speak(said[:1])[0][0])
