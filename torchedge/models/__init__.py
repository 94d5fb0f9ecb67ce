"""Small reference networks, and the Lightning module that trains a classifier."""

from torchedge.models.classifier import Classifier
from torchedge.models.mobile_digits import MobileDigits

__all__ = ["Classifier", "MobileDigits"]
