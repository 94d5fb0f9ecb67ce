"""Teaching a small network with a large one.

``DistillationModule`` is in :mod:`torchedge.distillation.lightning`: importing it loads Lightning.
"""

from torchedge.distillation.feature_modules import RKD, AttentionTransfer, FitNet
from torchedge.distillation.modules import Decoupled, DistillationTerm, Hinton
from torchedge.distillation.taps import Taps, taps

__all__ = [
    "RKD",
    "AttentionTransfer",
    "Decoupled",
    "DistillationTerm",
    "FitNet",
    "Hinton",
    "Taps",
    "taps",
]
