"""Google's Speech Commands (Warden 2018) from a local folder; nothing is downloaded."""

import itertools
import random
import wave
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from torchedge.data.keywords import KEYWORDS, SILENCE, UNKNOWN, KeywordParts, KeywordSet
from torchedge.data.mfcc import coefficients
from torchedge.data.sound import SAMPLE_RATE
from torchedge.errors import DataError

__all__ = ["read_wave", "speech_commands"]

_Part = Literal["train", "validation", "test"]
_LISTS: Mapping[str, _Part] = {"validation_list.txt": "validation", "testing_list.txt": "test"}
_NOISE = "_background_noise_"
_AT_ONCE = 500
_WHERE = "unpack speech_commands_v0.02.tar.gz and give the folder that holds testing_list.txt"


def speech_commands(folder: Path, *, seed: int = 0) -> KeywordParts:
    """Ten keywords, other words as ``unknown`` and background noise as ``silence``.

    The speakers of ``validation_list.txt`` and of ``testing_list.txt`` are in no other part. Of
    other words, and of silence, there are as many clips as a keyword has on average.

    Args:
        folder: Of the unpacked archive, version 1 or 2.
        seed: Of the choice of other words and of noise.

    Raises:
        DataError: The folder is missing or is not that of Speech Commands, or a file is no sound of
            16 kHz; the text names it.
        MissingDependencyError: torchaudio is not installed.
    """
    held_out = _held_out(folder)
    words = {path.name: sorted(path.glob("*.wav")) for path in folder.iterdir() if path.is_dir()}
    lacking = [word for word in (*KEYWORDS, _NOISE) if not words.get(word)]
    if lacking:
        raise DataError(f"'{folder}' has no sounds of {', '.join(lacking)}; {_WHERE}.")
    noises = [read_wave(path) for path in words.pop(_NOISE)]
    paths: dict[_Part, list[Path]] = {"train": [], "validation": [], "test": []}
    for word in sorted(words):
        for path in words[word]:
            paths[held_out.get(f"{word}/{path.name}", "train")].append(path)
    draw = random.Random(seed)
    parts = {name: _set(name, inside, noises, draw) for name, inside in paths.items()}
    return KeywordParts(train=parts["train"], validation=parts["validation"], test=parts["test"])


def _held_out(folder: Path) -> dict[str, _Part]:
    """Which part a file is in, by ``word/name.wav``; those to train with are in no list."""
    found: dict[str, _Part] = {}
    for name, part in _LISTS.items():
        path = folder / name
        if not path.is_file():
            what = f"holds no {name}" if folder.is_dir() else "is no folder"
            raise DataError(f"'{folder}' {what}; {_WHERE}.")
        found |= dict.fromkeys(path.read_text(encoding="utf-8").split(), part)
    return found


def _set(
    name: _Part, paths: Sequence[Path], noises: Sequence[Tensor], draw: random.Random
) -> KeywordSet:
    known = [(p, KEYWORDS.index(p.parent.name)) for p in paths if p.parent.name in KEYWORDS]
    others = [path for path in paths if path.parent.name not in KEYWORDS]
    if not known or not others:
        raise DataError(
            f"the {name} part has {len(known)} keywords and {len(others)} other words; {_WHERE}."
        )
    count = max(len(known) // len(KEYWORDS), 1)
    chosen = known + [(path, UNKNOWN) for path in draw.sample(others, min(count, len(others)))]
    silence = (_part(draw.choice(noises), draw) for _ in range(count))
    sounds = itertools.chain((read_wave(path) for path, _ in chosen), silence)
    labels = [label for _, label in chosen] + [SILENCE] * count
    return KeywordSet(features=_features(sounds), labels=torch.tensor(labels))


def _part(noise: Tensor, draw: random.Random) -> Tensor:
    """A second of a recording, softer or louder."""
    begin = draw.randint(0, max(len(noise) - SAMPLE_RATE, 0))
    return noise[begin : begin + SAMPLE_RATE] * draw.random()


def _features(sounds: Iterator[Tensor]) -> Tensor:
    """Coefficients of sounds of a second at most, the rest filled with silence."""
    parts = []
    while part := list(itertools.islice(sounds, _AT_ONCE)):
        clips = torch.zeros(len(part), SAMPLE_RATE)
        for clip, sound in zip(clips, part, strict=True):
            clip[: len(sound)] = sound[:SAMPLE_RATE]
        parts.append(coefficients(clips))
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
