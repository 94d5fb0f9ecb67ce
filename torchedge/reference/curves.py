"""Functions of one number as the runtimes' tables hold them."""

import math

import torch
from torch import Tensor

__all__ = ["gelu"]

_ROOT_OF_HALF = math.sqrt(0.5)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """``x / 2 · (1 + erf(x / √2))``, each operation rounded to float32 (Hendrycks & Gimpel 2016).

    Far below zero ``1 + erf`` cancels, so that the result differs from ``F.gelu``, which does not
    round in between, by up to 1e-4 of itself. LiteRT's tables of 256 numbers are computed so.

    Args:
        x: Real values, of any shape.
        approximate: ``tanh`` for the approximation with a hyperbolic tangent.

    Example:
        >>> gelu(torch.tensor([0.0, 1.0])).tolist()
        [0.0, 0.8413447141647339]
    """
    if approximate == "tanh":
        return torch.nn.functional.gelu(x, approximate="tanh")
    return 0.5 * x * (1 + torch.erf(x * _ROOT_OF_HALF))
