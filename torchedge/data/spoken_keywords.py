"""Keywords that eSpeak NG says in many voices, in noise; test voices are never trained on."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

import torch
from torch import Generator, Tensor

from torchedge.data.espeak import ACCENTS, Utterance, speak, voice_families, voice_files, voices
from torchedge.data.espeak_crosses import crossed_voices
from torchedge.data.kept_keywords import keep_parts, kept_parts
from torchedge.data.keywords import (
    CLASSES,
    KEYWORDS,
    OTHER_WORDS,
    SILENCE,
    UNKNOWN,
    KeywordParts,
    KeywordSet,
)
from torchedge.data.mfcc import coefficients
from torchedge.data.sound import SAMPLE_RATE, placed, trimmed, with_noise
from torchedge.errors import DataError, MissingDependencyError

__all__ = ["SpokenKeywords", "split_voices", "spoken_keywords"]

_LEAST_VOICES = 20  # to train with; a network that knows fewer knows the voices, not the words
_MADE_BY = "torchedge.data.spoken_keywords, 5"  # another number when other clips are made
_AT_ONCE = 500
_MOST_CROSSED = 200
_SILENCE_POWER = 0.01
_KHZ = 1000
# What speaks and what listens, and how to get it.
_PACKAGES = {
    "espeakng-loader": "pip install espeakng-loader (eSpeak NG in it is a program under the GPL)",
    "torchaudio": "pip install 'torchedge[recipes]'",
}


@final
@dataclass(frozen=True, kw_only=True)
class SpokenKeywords:
    """What is said and how it is recorded; every figure is drawn evenly from its range.

    Args:
        clips: To train with.
        validation_clips: To watch the training by.
        test_clips: To test with.
        validation_voices: At least so many voices only validate.
        test_voices: At least so many voices only test; a voice and its tunings stay together.
        crossed_voices: So many voices more to train with, each between two that only train, or of
            one of them with other formants.
        snr_db: Least and largest ratio of word to noise in training, in decibels.
        test_snr_db: The ratio in validation and tests.
        words_per_minute: Least and largest speed.
        pitch: Least and largest pitch and range of pitch, of eSpeak NG's 0 to 100.
        played_hz: Least and largest rate, in steps of 1 kHz, at which words to train with are
            played; eSpeak NG speaks at 22,050 Hz. A throat sounds as much longer or shorter, and a
            few dozen voices like many (like speed perturbation, Ko et al. 2015).
        gain: Least and largest loudness; :class:`torchedge.data.Mfcc` takes it out again with the
            mean of each coefficient, other front ends may not.
        seed: Of everything.

    Raises:
        DataError: There are no clips or voices, too many crossed ones, or a range ends before it
            begins.
    """

    clips: int = 50_000
    validation_clips: int = 500
    test_clips: int = 2_000
    validation_voices: int = 8
    test_voices: int = 24
    crossed_voices: int = 200
    snr_db: tuple[float, float] = (3.0, 20.0)
    test_snr_db: float = 10.0
    words_per_minute: tuple[int, int] = (120, 220)
    pitch: tuple[int, int] = (20, 80)
    played_hz: tuple[int, int] = (18_000, 27_000)
    gain: tuple[float, float] = (0.3, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        clips = (self.clips, self.validation_clips, self.test_clips)
        if min(*clips, self.validation_voices, self.test_voices) < 1:
            raise DataError(
                f"clips to train, validate and test with: {clips}, voices to validate and test "
                f"with: {(self.validation_voices, self.test_voices)}; give one or more of each."
            )
        if not 0 <= self.crossed_voices <= _MOST_CROSSED:
            raise DataError(
                f"{self.crossed_voices} crossed voices; give 0 to {_MOST_CROSSED}: eSpeak NG "
                "knows no more beside its own."
            )
        ranges = (self.snr_db, self.words_per_minute, self.pitch, self.played_hz, self.gain)
        for low, high in ranges:
            if low > high:
                raise DataError(f"the range {low} to {high} is empty; give the smaller end first.")

    def fingerprint(self) -> str:
        """SHA-256 over the settings and the versions of what speaks and listens.

        Raises:
            MissingDependencyError: espeakng-loader or torchaudio is not installed.
        """
        packages = {name: _version(name) for name in _PACKAGES}
        plain = {**asdict(self), "made_by": _MADE_BY, "packages": packages}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            f"the spoken keywords need the package {package}; type: {_PACKAGES[package]}"
        ) from error


def spoken_keywords(settings: SpokenKeywords, folder: Path) -> KeywordParts:
    """Clips in three parts, read from ``folder`` if these were made before.

    Args:
        settings: What to make; the same settings make the same clips.
        folder: Holds a folder for each set that was made, named after its hash.

    Raises:
        MissingDependencyError: espeakng-loader or torchaudio is not installed.
        ArtifactError: The kept clips are damaged.
        DataError: eSpeak NG cannot speak, or has too few voices.
        StorageError: The disk refuses the clips.
    """
    fingerprint = settings.fingerprint()
    place = folder / f"spoken-{fingerprint[:16]}"
    if not place.exists():
        keep_parts(_made(settings), place, fingerprint)
    return kept_parts(place, fingerprint)


def split_voices(
    names: Sequence[str], held_out: Sequence[int], seed: int
) -> tuple[tuple[str, ...], ...]:
    """Voices to train with, then at least so many for each other part; no family is in two.

    Args:
        names: Voices; those of a family differ by a number.
        held_out: The least number of voices of each part that is not trained on.
        seed: Of the choice.

    Raises:
        DataError: There are too few voices for that.

    Example:
        >>> split_voices(["a", "b", "b2", "c"], [1, 1], seed=0)
        (('a',), ('b', 'b2'), ('c',))
    """
    families = list(voice_families(names).values())
    random.Random(seed).shuffle(families)
    parts: list[tuple[str, ...]] = []
    for least in held_out:
        part: list[str] = []
        while families and len(part) < least:
            part += families.pop()
        parts.append(tuple(sorted(part)))
    if not families:
        raise DataError(
            f"{' and '.join(map(str, held_out))} of {len(names)} voices leave none to train with; "
            "hold fewer out."
        )
    return tuple(sorted(name for family in families for name in family)), *parts


def _made(settings: SpokenKeywords) -> KeywordParts:
    # Drawn first, test voices stay the same however many validate.
    held_out = (settings.test_voices, settings.validation_voices)
    train, test, validation = split_voices(voices(), held_out, settings.seed)
    if len(train) < _LEAST_VOICES:
        raise DataError(
            f"{len(train)} voices are left to train with, and {_LEAST_VOICES} are the least; hold "
            f"out fewer than {len(validation)} to validate and {len(test)} to test with."
        )
    draw = random.Random(f"{settings.seed} crossed voices")
    crossed = crossed_voices(voice_files(), train, settings.crossed_voices, draw)
    quiet = (settings.test_snr_db,) * 2
    return KeywordParts(
        train=_clips(
            settings, (*train, *crossed), settings.clips, settings.snr_db, "train", crossed
        ),
        validation=_clips(settings, validation, settings.validation_clips, quiet, "validation"),
        test=_clips(settings, test, settings.test_clips, quiet, "test"),
    )


def _clips(
    settings: SpokenKeywords,
    names: Sequence[str],
    count: int,
    snr_db: tuple[float, float],
    part: str,
    crossed: Mapping[str, str] | None = None,
) -> KeywordSet:
    draw = random.Random(f"{settings.seed} {part}")
    labels = [draw.randrange(len(CLASSES)) for _ in range(count)]
    said = [_utterance(settings, label, names, draw) for label in labels]
    utterances = [utterance for utterance in said if utterance is not None]
    rates = range(settings.played_hz[0], settings.played_hz[1] + 1, _KHZ) if part == "train" else ()
    words = _spoken(
        utterances, settings.seed, crossed, [draw.choice(rates or (None,)) for _ in utterances]
    )
    generator = Generator().manual_seed(draw.getrandbits(32))
    features = []
    for begin in range(0, count, _AT_ONCE):
        part_said = said[begin : begin + _AT_ONCE]
        sounds = [torch.zeros(0) if utterance is None else next(words) for utterance in part_said]
        features.append(_recorded(sounds, settings.gain, snr_db, generator))
    return KeywordSet(features=torch.cat(features), labels=torch.tensor(labels))


def _utterance(
    settings: SpokenKeywords, label: int, names: Sequence[str], draw: random.Random
) -> Utterance | None:
    if label == SILENCE:
        return None
    return Utterance(
        text=draw.choice(OTHER_WORDS) if label == UNKNOWN else KEYWORDS[label],
        voice=draw.choice(names),
        accent=draw.choice(ACCENTS),
        words_per_minute=draw.randint(*settings.words_per_minute),
        pitch=draw.randint(*settings.pitch),
        pitch_range=draw.randint(*settings.pitch),
    )


def _spoken(
    utterances: Sequence[Utterance],
    seed: int,
    crossed: Mapping[str, str] | None,
    played_hz: Sequence[int | None],
) -> Iterator[Tensor]:
    """What was said at 16 kHz, without silence at its ends; ``None`` plays it as it was spoken."""
    if not utterances:
        return
    waveforms, rate = speak(utterances, seed=seed, more_voices=crossed)
    for begin in range(0, len(waveforms), _AT_ONCE):
        part = waveforms[begin : begin + _AT_ONCE]
        words = [trimmed(torch.from_numpy(w).float() / 2**15) for w in part]
        rates = [hertz or rate for hertz in played_hz[begin : begin + _AT_ONCE]]
        heard: dict[int, Tensor] = {}
        for hertz in sorted(set(rates)):
            places = [place for place, other in enumerate(rates) if other == hertz]
            played = _played([words[place] for place in places], hertz)
            heard |= dict(zip(places, played, strict=True))
        yield from (heard[place] for place in range(len(part)))


def _played(words: Sequence[Tensor], rate: int) -> list[Tensor]:
    """Words of so many samples a second at 16 kHz, a second of each at most."""
    from torchaudio.functional import resample

    together = torch.nn.utils.rnn.pad_sequence([w[:rate] for w in words], batch_first=True)
    clips = resample(together, rate, SAMPLE_RATE)
    return [
        clip[: len(word) * SAMPLE_RATE // rate] for clip, word in zip(clips, words, strict=True)
    ]


def _recorded(
    words: Sequence[Tensor],
    gain: tuple[float, float],
    snr_db: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """Coefficients of words at random places in noise; of noise alone for an empty word."""
    clips = torch.stack([placed(word, SAMPLE_RATE, generator) for word in words])
    powers = torch.stack(
        [w.square().mean() if len(w) else torch.tensor(_SILENCE_POWER) for w in words]
    )
    ratios = _evenly(snr_db, len(words), generator)
    loudness = _evenly(gain, len(words), generator)
    return coefficients(with_noise(clips, powers, ratios, generator) * loudness[:, None])


def _evenly(ends: tuple[float, float], count: int, generator: Generator) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(count, generator=generator)
