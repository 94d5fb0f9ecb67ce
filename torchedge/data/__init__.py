"""Data that arrives inside packages, or from a local folder; nothing is downloaded at run time."""

from torchedge.data.device_mfcc import write_mfcc
from torchedge.data.digits import Digits
from torchedge.data.keyword_sources import keyword_parts
from torchedge.data.keywords import CLASSES, KeywordParts, Keywords, KeywordSet
from torchedge.data.mfcc import Mfcc
from torchedge.data.speech_commands import speech_commands
from torchedge.data.spoken_keywords import SpokenKeywords, spoken_keywords

__all__ = [
    "CLASSES",
    "Digits",
    "KeywordParts",
    "KeywordSet",
    "Keywords",
    "Mfcc",
    "SpokenKeywords",
    "keyword_parts",
    "speech_commands",
    "spoken_keywords",
    "write_mfcc",
]
