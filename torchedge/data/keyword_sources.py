"""Where the clips of a keyword spotter come from, chosen by name."""

from pathlib import Path
from typing import Literal

from torchedge.data.keywords import KeywordParts
from torchedge.data.speech_commands import speech_commands
from torchedge.data.spoken_keywords import SpokenKeywords, spoken_keywords
from torchedge.errors import DataError

__all__ = ["keyword_parts"]


def keyword_parts(
    source: Literal["espeak", "speech-commands"],
    folder: Path | None,
    settings: SpokenKeywords,
    kept: Path,
) -> KeywordParts:
    """Clips that eSpeak NG says, or those of Speech Commands.

    Args:
        source: Which.
        folder: The unpacked Speech Commands, and nothing for eSpeak NG.
        settings: What eSpeak NG says.
        kept: Where its clips stay from run to run.

    Raises:
        DataError: A folder is missing or too much, or the data is not what it should be.
        MissingDependencyError: torchaudio, or for eSpeak NG espeakng-loader, is not installed.
    """
    if source == "espeak" and folder is not None:
        raise DataError(
            f"eSpeak NG reads no folder, and '{folder}' was given; leave it out, or add --data "
            "speech-commands."
        )
    if source == "espeak":
        return spoken_keywords(settings, kept)
    if folder is None:
        raise DataError(
            "Speech Commands is read from a folder; name it: --data speech-commands FOLDER."
        )
    return speech_commands(folder, seed=settings.seed)
