"""Small reference networks, and the Lightning module that trains a classifier."""

from torchedge.models.classifier import Classifier
from torchedge.models.keyword_spotter import KeywordSpotter, WideKeywordSpotter
from torchedge.models.mobile_digits import MobileDigits
from torchedge.models.training import accuracy, fit
from torchedge.models.wide_digits import WideDigits

__all__ = [
    "Classifier",
    "KeywordSpotter",
    "MobileDigits",
    "WideDigits",
    "WideKeywordSpotter",
    "accuracy",
    "fit",
]
