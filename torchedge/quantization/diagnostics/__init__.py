"""Finding out where quantisation costs accuracy, and what to do about it."""

from torchedge.quantization.bit_widths import with_bits
from torchedge.quantization.diagnostics.analyse import Analysis, TensorAnalysis, analyse
from torchedge.quantization.diagnostics.attach import attach
from torchedge.quantization.diagnostics.lint import Finding, lint_calibration
from torchedge.quantization.diagnostics.mixed_precision import (
    BitBudget,
    BitCosts,
    choose_bits,
    costs,
)
from torchedge.quantization.diagnostics.render import markdown
from torchedge.quantization.diagnostics.requantize import Requantized, dequantized, requantize
from torchedge.quantization.diagnostics.sensitivity import LayerSensitivity, sensitivity
from torchedge.quantization.diagnostics.sqnr import Power, sqnr

__all__ = [
    "Analysis",
    "BitBudget",
    "BitCosts",
    "Finding",
    "LayerSensitivity",
    "Power",
    "Requantized",
    "TensorAnalysis",
    "analyse",
    "attach",
    "choose_bits",
    "costs",
    "dequantized",
    "lint_calibration",
    "markdown",
    "requantize",
    "sensitivity",
    "sqnr",
    "with_bits",
]
