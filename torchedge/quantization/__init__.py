"""Fake quantisation: the device's own integers, seen while the network still trains.

Four floors, imports go down only: ``functional`` (numbers) ← ``modules`` (state) ← ``transform``
(structure: a module in, a new module out) ← ``lightning`` (time). The callback is imported from its
own file, ``torchedge.quantization.lightning``, because Lightning takes seconds to import.
"""

from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.calibration import Histogram, RangeRule, entropy, minmax
from torchedge.quantization.freeze import freeze
from torchedge.quantization.learned import learn_step_sizes
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.range_rules import mse, percentile
from torchedge.quantization.ranges import calibrate
from torchedge.quantization.summary import describe
from torchedge.quantization.transform import prepare_qat
from torchedge.scheme import QuantScheme, QuantSpec

__all__ = [
    "FakeQuantize",
    "Histogram",
    "QuantScheme",
    "QuantSpec",
    "QuantizedLayer",
    "RangeRule",
    "calibrate",
    "describe",
    "entropy",
    "fold_batchnorms",
    "freeze",
    "learn_step_sizes",
    "minmax",
    "mse",
    "percentile",
    "prepare_qat",
]
