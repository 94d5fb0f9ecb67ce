"""Spoken words from eSpeak NG, which the package espeakng-loader carries, voices and all.

eSpeak NG is licensed under the GPL, so it is a source of data and no part of torchedge: whoever
wants it installs it, no extra does; nothing here loads its library, a process of its own speaks.
"""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.children import Children, Program
from torchedge.errors import DataError, MissingDependencyError
from torchedge.writing import temporary_folder

__all__ = ["ACCENTS", "Utterance", "speak", "voice_families", "voice_files", "voices"]

# English of eSpeak NG 1.52: American, Scottish, Received Pronunciation, Lancastrian, West Midlands,
# Caribbean.
ACCENTS = (
    *("en-us", "en-gb-scotland", "en-gb-x-rp"),
    *("en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
)
_MOST_VOICING_OF_A_WHISPER = 20  # per cent: of whisper 17, of whisperf 20, of caleb 0
_PACKAGE, _LIBRARIES, _DATA = "espeakng_loader", "libespeak-ng.*", "espeak-ng-data"
_VOICES, _ENGLISH = "voices/!v", "lang/gmw"
_CHILD = "espeak_child.py"
_IN_ONE_PROCESS = 2000  # fixed: a voice sounds a little different after another one
_LIMIT_S = 300.0
_PIP_LINE = "pip install espeakng-loader"


@final
@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A text, who says it, and how.

    Args:
        text: What is said.
        voice: One of :func:`voices`.
        accent: One of :data:`ACCENTS`.
        words_per_minute: eSpeak NG's speed, 80 to 450.
        pitch: 0 to 100.
        pitch_range: How much the pitch moves, 0 to 100.
    """

    text: str
    voice: str
    accent: str = ACCENTS[0]
    words_per_minute: int = 160
    pitch: int = 50
    pitch_range: int = 50


def voices() -> tuple[str, ...]:
    """Names of all voices that do not whisper, sorted.

    Raises:
        MissingDependencyError: espeakng-loader is not installed.
    """
    return tuple(sorted(name for name, text in voice_files().items() if not _whispers(text)))


def voice_files() -> dict[str, str]:
    """Text of each voice's file, by its name.

    Raises:
        MissingDependencyError: espeakng-loader is not installed.
    """
    folder = _package() / _DATA / _VOICES
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def _whispers(voice: str) -> bool:
    """Whether a voice file turns the sound of the vocal cords down to nearly nothing."""
    voicing = re.search(r"^voicing +(\d+)", voice, re.MULTILINE)
    return voicing is not None and int(voicing[1]) <= _MOST_VOICING_OF_A_WHISPER


def voice_families(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Voices whose names differ only by a number or capitals, which are tunings of one another.

    Example:
        >>> voice_families(["Mike", "f1", "f2", "mike2"])
        {'mike': ('Mike', 'mike2'), 'f': ('f1', 'f2')}
    """
    families: dict[str, tuple[str, ...]] = {}
    for name in names:
        family = re.sub(r"(robot)?\d*$", "", name.lower())
        families[family] = (*families.get(family, ()), name)
    return families


def speak(
    utterances: Sequence[Utterance], *, seed: int = 0, more_voices: Mapping[str, str] | None = None
) -> tuple[tuple[Array, ...], int]:
    """Let eSpeak NG say everything; the same utterances sound the same in every run.

    Args:
        utterances: What to say.
        seed: Of the noise in breathy voices.
        more_voices: Texts of voice files that eSpeak NG does not have, by new names.

    Returns:
        A waveform of int16 for each utterance, and samples per second.

    Raises:
        MissingDependencyError: espeakng-loader is not installed.
        DataError: There is nothing to say, or eSpeak NG cannot say it, or says nothing; the text
            has its complaint.
    """
    if not utterances:
        raise DataError("there is nothing to say; give at least one utterance.")
    package = _package()
    begins = range(0, len(utterances), _IN_ONE_PROCESS)
    parts = [utterances[begin : begin + _IN_ONE_PROCESS] for begin in begins]
    with ThreadPoolExecutor(max_workers=2) as pool, Children() as children:

        def say(part: Sequence[Utterance]) -> tuple[list[Array], int]:  # waits for a process
            return _spoken(part, package, seed, more_voices or {}, children)

        spoken = list(pool.map(say, parts))
    waveforms = tuple(waveform for waveforms, _ in spoken for waveform in waveforms)
    for utterance, waveform in zip(utterances, waveforms, strict=True):
        if not waveform.any():
            raise DataError(f"eSpeak NG says nothing for {utterance}; leave it out.")
    return waveforms, spoken[0][1]


def _package() -> Path:
    """The folder of espeakng-loader, found without importing it."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the spoken words come from eSpeak NG in the package espeakng-loader (a program under "
            f"the GPL, run in a process of its own); type: {_PIP_LINE}"
        )
    return Path(spec.origin).parent


def _spoken(
    part: Sequence[Utterance],
    package: Path,
    seed: int,
    more_voices: Mapping[str, str],
    children: Children,
) -> tuple[list[Array], int]:
    with temporary_folder("speech") as scratch:
        data = _with_voices(package / _DATA, scratch / _DATA, more_voices)
        job, out = scratch / "job.json", scratch / "spoken.npz"
        job.write_text(
            json.dumps(
                {
                    "library": str(next(package.glob(_LIBRARIES))),
                    "data": str(data),
                    "seed": seed,
                    "out": str(out),
                    "utterances": [asdict(utterance) for utterance in part],
                }
            ),
            encoding="utf-8",
        )
        _run(job, children)
        with np.load(out, allow_pickle=False) as found:
            ends = np.cumsum(found["lengths"])
            return np.split(found["samples"], ends[:-1]), int(found["rate"])


def _with_voices(data: Path, folder: Path, more_voices: Mapping[str, str]) -> Path:
    """A folder with all of eSpeak NG's data by links, and the voices beside its own."""
    if not more_voices:
        return data
    own = folder / _VOICES
    own.mkdir(parents=True)
    (folder / _ENGLISH).parent.mkdir()
    # No other language: eSpeak NG knows 350 voices and languages at most.
    parts = (*data.iterdir(), *(data / _VOICES).iterdir(), data / _ENGLISH)
    for path in parts:
        if path.name not in (own.parent.name, Path(_ENGLISH).parent.name):
            (folder / path.relative_to(data)).symlink_to(path)
    for name, text in more_voices.items():
        (own / name).write_text(text, encoding="utf-8")
    return folder


def _run(job: Path, children: Children) -> None:
    command = [sys.executable, str(Path(__file__).with_name(_CHILD)), str(job)]
    try:
        done = children.run(Program(command=command, limit_s=_LIMIT_S))
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"eSpeak NG did not finish within {_LIMIT_S:,.0f} s; say fewer words."
        ) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DataError(
            f"eSpeak NG could not speak: {said}. If the package is damaged, type: "
            "pip install --force-reinstall espeakng-loader"
        )
