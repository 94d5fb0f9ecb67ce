"""Keywords that eSpeak NG says in many voices, in noise; test voices are never trained on."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import final

import torch
from torch import Generator, Tensor

from torchedge.data.espeak import ACCENTS, Utterance, speak, voice_families, voices
from torchedge.data.keywords import CLASSES, KEYWORDS, OTHER_WORDS, SILENCE, UNKNOWN, KeywordSet
from torchedge.data.mfcc import FRAMES, Mfcc
from torchedge.data.sound import SAMPLE_RATE, placed, trimmed, with_noise
from torchedge.errors import ArtifactError, MissingDependencyError, DataError
from torchedge.export.artifact import Artifact, Format, load_artifact, write_artifact
from torchedge.export.pipeline import staged_folder

__all__ = ["SpokenKeywords", "spoken_keywords", "split_voices"]

_FORMAT, _FILE = Format("keywords"), "clips.safetensors"
_MADE_BY = "torchedge.data.spoken_keywords, 1"  # another number when other clips are made
_AT_ONCE = 500
_SILENCE_POWER = 0.01
_PACKAGES = ("espeakng-loader", "torchaudio")


@final
@dataclass(frozen=True, kw_only=True)
class SpokenKeywords:
    """What is said and how it is recorded; every figure is drawn evenly from its range.

    Args:
        clips: To train with.
        test_clips: To test with.
        test_voices: At least so many voices only test; a voice and its tunings stay together.
        snr_db: Least and largest ratio of word to noise in training, in decibels.
        test_snr_db: The ratio in tests.
        words_per_minute: Least and largest speed.
        pitch: Least and largest pitch and range of pitch, of eSpeak NG's 0 to 100.
        gain: Least and largest loudness.
        seed: Of everything.

    Raises:
        DataError: There are no clips, or a range ends before it begins.
    """

    clips: int = 24_000
    test_clips: int = 2_000
    test_voices: int = 24
    snr_db: tuple[float, float] = (5.0, 20.0)
    test_snr_db: float = 10.0
    words_per_minute: tuple[int, int] = (120, 220)
    pitch: tuple[int, int] = (20, 80)
    gain: tuple[float, float] = (0.3, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.clips, self.test_clips, self.test_voices) < 1:
            raise DataError(
                f"{self.clips} clips, {self.test_clips} to test with, {self.test_voices} test "
                "voices; give one or more of each."
            )
        for low, high in (self.snr_db, self.words_per_minute, self.pitch, self.gain):
            if low > high:
                raise DataError(f"the range {low} to {high} is empty; give the smaller end first.")

    def fingerprint(self) -> str:
        """SHA-256 over the settings and the versions of what speaks and listens.

        Raises:
            MissingDependencyError: A package of the extra ``speech`` is not installed.
        """
        packages = {name: _version(name) for name in _PACKAGES}
        plain = {**asdict(self), "made_by": _MADE_BY, "packages": packages}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the spoken keywords need the package {package}; type: "
            "pip install 'torchedge[speech]' (eSpeak NG in it is a program under the GPL)"
        ) from error


def spoken_keywords(settings: SpokenKeywords, folder: Path) -> tuple[KeywordSet, KeywordSet]:
    """Clips to train and to test with, read from ``folder`` if these were made before.

    Args:
        settings: What to make; the same settings make the same clips.
        folder: Holds a folder for each set that was made, named after its hash.

    Raises:
        MissingDependencyError: A package of the extra ``speech`` is not installed.
        ArtifactError: The kept clips are damaged.
        DataError: eSpeak NG cannot speak, or has too few voices.
        StorageError: The disk refuses the clips.
    """
    place = folder / f"spoken-{settings.fingerprint()[:16]}"
    if not place.exists():
        train_voices, test_voices = split_voices(voices(), settings.test_voices, settings.seed)
        _write(
            place,
            settings,
            _clips(settings, train_voices, settings.clips, settings.snr_db, settings.seed),
            _clips(
                settings,
                test_voices,
                settings.test_clips,
                (settings.test_snr_db,) * 2,
                settings.seed + 1,
            ),
        )
    return _read(place, settings)


def split_voices(
    names: Sequence[str], least: int, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Voices to train and, ``least`` or more of them, to test with; no family is in both.

    Raises:
        DataError: No voice would be left to train with.

    Example:
        >>> split_voices(["a", "b", "b2", "c"], 1, seed=0)
        (('b', 'b2', 'c'), ('a',))
    """
    families = list(voice_families(names).values())
    random.Random(seed).shuffle(families)
    test: list[str] = []
    while families and len(test) < least:
        test += families.pop()
    if not families:
        raise DataError(
            f"{least} test voices of {len(names)} leave none to train with; ask for fewer."
        )
    return tuple(sorted(name for family in families for name in family)), tuple(sorted(test))


def _clips(
    settings: SpokenKeywords,
    names: Sequence[str],
    count: int,
    snr_db: tuple[float, float],
    seed: int,
) -> KeywordSet:
    draw = random.Random(f"{settings.seed} {seed}")
    labels = [draw.randrange(len(CLASSES)) for _ in range(count)]
    said = {i: _utterance(settings, label, names, draw) for i, label in enumerate(labels)}
    words = dict(zip((i for i, u in said.items() if u), _spoken(said), strict=True))
    generator = Generator().manual_seed(seed)
    silent = torch.zeros(0)
    parts = [
        _recorded(
            [words.get(i, silent) for i in range(begin, min(begin + _AT_ONCE, count))],
            settings.gain,
            snr_db,
            generator,
        )
        for begin in range(0, count, _AT_ONCE)
    ]
    return KeywordSet(features=torch.cat(parts), labels=torch.tensor(labels))


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


def _spoken(said: dict[int, Utterance | None]) -> list[Tensor]:
    """What was said at 16 kHz, without silence at its ends."""
    from torchaudio.functional import resample

    utterances = [utterance for utterance in said.values() if utterance is not None]
    if not utterances:
        return []
    waveforms, rate = speak(utterances)
    words = [trimmed(torch.from_numpy(w).float() / 2**15)[:rate] for w in waveforms]
    heard: list[Tensor] = []
    for begin in range(0, len(words), _AT_ONCE):
        part = words[begin : begin + _AT_ONCE]
        together = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
        clips = resample(together, rate, SAMPLE_RATE)
        heard += [
            clip[: len(word) * SAMPLE_RATE // rate] for clip, word in zip(clips, part, strict=True)
        ]
    return heard


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
    noisy = with_noise(clips, powers, ratios, generator) * loudness[:, None]
    with torch.no_grad():
        coefficients: Tensor = Mfcc()(noisy)
    return coefficients


def _evenly(ends: tuple[float, float], count: int, generator: Generator) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(count, generator=generator)


def _write(place: Path, settings: SpokenKeywords, train: KeywordSet, test: KeywordSet) -> None:
    from safetensors.torch import save_file

    tensors = {
        "train.features": train.features,
        "train.labels": train.labels,
        "test.features": test.features,
        "test.labels": test.labels,
    }
    with staged_folder(place) as staging:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, staging / _FILE)
        write_artifact(
            Artifact(
                path=staging,
                format=_FORMAT,
                inputs=(),
                outputs=(),
                made_by=(_MADE_BY,),
                details={"settings": settings.fingerprint(), "frames": FRAMES},
            )
        )


def _read(place: Path, settings: SpokenKeywords) -> tuple[KeywordSet, KeywordSet]:
    from safetensors.torch import load_file

    artifact = load_artifact(place)
    if artifact.details.get("settings") != settings.fingerprint():
        raise ArtifactError(
            f"'{place}' holds clips of other settings; remove it to make them anew."
        )
    found = load_file(artifact.file(_FILE))
    train, test = (
        KeywordSet(features=found[f"{part}.features"], labels=found[f"{part}.labels"])
        for part in ("train", "test")
    )
    return train, test
