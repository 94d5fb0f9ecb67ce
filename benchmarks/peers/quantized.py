"""What every peer hands back."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor

__all__ = ["Quantized"]


@final
@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A peer's quantised network.

    Args:
        path: The file that it wrote.
        seconds: From the float ONNX file to that one.
        logits: What the peer's own runtime answers to the evaluation images.
    """

    path: Path
    seconds: float
    logits: Tensor
