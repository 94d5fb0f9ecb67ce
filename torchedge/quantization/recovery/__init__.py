"""Post-training quantisation that keeps accuracy: what to do when there is data but no training.

:func:`quantize` does everything in one call; the other functions are its parts. Each takes a model
and returns a new one.
"""

from torchedge.quantization.recovery.batchnorm import reestimate_batchnorm
from torchedge.quantization.recovery.bias_correction import correct_biases
from torchedge.quantization.recovery.equalize import equalize
from torchedge.quantization.recovery.last_layer import refit_last_layer
from torchedge.quantization.recovery.quantize import Recovery, quantize
from torchedge.quantization.recovery.rounding import round_adaptively
from torchedge.quantization.recovery.weight_ranges import choose_weight_scales

__all__ = [
    "Recovery",
    "choose_weight_scales",
    "correct_biases",
    "equalize",
    "quantize",
    "reestimate_batchnorm",
    "refit_last_layer",
    "round_adaptively",
]
