"""Google's Speech Commands (Warden 2018) from a local folder; nothing is downloaded."""

import random
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchedge.data.keywords import KEYWORDS, SILENCE, UNKNOWN, KeywordSet
from torchedge.data.mfcc import Mfcc
from torchedge.data.sound import SAMPLE_RATE
from torchedge.errors import DataError

__all__ = ["read_wave", "speech_commands"]

_TEST_LIST, _NOISE = "testing_list.txt", "_background_noise_"
_AT_ONCE = 500
_WHERE = "unpack speech_commands_v0.02.tar.gz and give the folder that holds testing_list.txt"


def speech_commands(folder: Path, *, seed: int = 0) -> tuple[KeywordSet, KeywordSet]:
    """Ten keywords, other words as ``unknown`` and background noise as ``silence``.

    The speakers of ``testing_list.txt`` only test. Of other words, and of silence, there are as many
    clips as a keyword has on average.

    Args:
        folder: Of the unpacked archive, version 1 or 2.
        seed: Of the choice of other words and of noise.

    Returns:
        Clips to train and to test with.

    Raises:
        DataError: The folder is missing or is not that of Speech Commands, or a file is no sound of
            16 kHz; the text names it.
        MissingDependencyError: torchaudio is not installed.
    """
    tested = _test_list(folder)
    draw = random.Random(seed)
    words = {word: sorted((folder / word).glob("*.wav")) for word in _words(folder)}
    lacking = [word for word in (*KEYWORDS, _NOISE) if not words.get(word)]
    if lacking:
        raise DataError(f"'{folder}' has no sounds of {', '.join(lacking)}; {_WHERE}.")
    noises = [read_wave(path) for path in words.pop(_NOISE)]
    train = {w: [p for p in paths if _name(p) not in tested] for w, paths in words.items()}
    test = {w: [p for p in paths if _name(p) in tested] for w, paths in words.items()}
    return _set(train, noises, draw), _set(test, noises, draw)


def _words(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _test_list(folder: Path) -> frozenset[str]:
    path = folder / _TEST_LIST
    if not path.is_file():
        found = f"holds no {_TEST_LIST}" if folder.is_dir() else "is no folder"
        raise DataError(f"'{folder}' {found}; {_WHERE}.")
    return frozenset(path.read_text().split())


def _set(
    words: Mapping[str, Sequence[Path]], noises: Sequence[Tensor], draw: random.Random
) -> KeywordSet:
    known = [(path, KEYWORDS.index(word)) for word in KEYWORDS for path in words[word]]
    others = [path for word, paths in words.items() if word not in KEYWORDS for path in paths]
    if not known or not others:
        raise DataError(
            f"{len(known)} keywords and {len(others)} other words on one side of {_TEST_LIST}; "
            f"{_WHERE}."
        )
    count = max(len(known) // len(KEYWORDS), 1)
    unknown = [(path, UNKNOWN) for path in draw.sample(others, min(count, len(others)))]
    chosen = known + unknown
    heard = _features([read_wave(path) for path, _ in chosen])
    silent = _features([_part(draw.choice(noises), draw) for _ in range(count)])
    labels = [label for _, label in chosen] + [SILENCE] * count
    return KeywordSet(features=torch.cat([heard, silent]), labels=torch.tensor(labels))


def _part(noise: Tensor, draw: random.Random) -> Tensor:
    """A second of a recording, softer or louder."""
    begin = draw.randint(0, max(len(noise) - SAMPLE_RATE, 0))
    return noise[begin : begin + SAMPLE_RATE] * draw.random()


def _features(sounds: Sequence[Tensor]) -> Tensor:
    """Coefficients of sounds of a second at most, the rest filled with silence."""
    front_end = Mfcc()
    parts = []
    for begin in range(0, len(sounds), _AT_ONCE):
        clips = torch.zeros(min(_AT_ONCE, len(sounds) - begin), SAMPLE_RATE)
        for clip, sound in zip(clips, sounds[begin : begin + _AT_ONCE], strict=True):
            clip[: len(sound)] = sound[:SAMPLE_RATE]
        with torch.no_grad():
            parts.append(front_end(clips))
    return torch.cat(parts)


def read_wave(path: Path) -> Tensor:
    """Samples of a file of 16-bit mono sound at 16 kHz, in [-1, 1).

    Raises:
        DataError: It is something else.
    """
    try:
        with wave.open(str(path)) as sound:
            kind = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
            data = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(f"'{path}' is no .wav file ({error}); unpack the archive again.") from error
    if kind != (1, 2, SAMPLE_RATE):
        raise DataError(
            f"'{path}' has {kind[0]} channels of {8 * kind[1]} bits at {kind[2]:,} Hz; give mono "
            f"sound of 16 bits at {SAMPLE_RATE:,} Hz."
        )
    return torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / 2**15)
