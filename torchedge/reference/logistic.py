"""The sigmoid as ONNX Runtime's CPU kernels compute it, to the last bit."""

from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["runtime_sigmoid", "runtime_silu"]

# Odd numerator and even denominator, highest power first, of the rational approximation that Eigen
# and ONNX Runtime use between -18 and 18.
_NUMERATOR = (
    4.37031012579801e-11,
    1.15627324459942e-07,
    6.08574864600143e-05,
    8.51377133304701e-03,
    2.48287947061529e-01,
)
_DENOMINATOR = (
    6.10247389755681e-13,
    5.76102136993427e-09,
    6.29106785017040e-06,
    1.70198817374094e-03,
    1.16817656904453e-01,
    9.93151921023180e-01,
)
_LIMIT = 18.0


def runtime_sigmoid(x: Tensor) -> Tensor:
    """``x·p(x²) / q(x²) + ½`` in float32, each step of both polynomials rounded once.

    It differs from ``torch.sigmoid`` by up to three units in the last place, which is enough to
    round an activation to another integer now and then.

    Example:
        >>> runtime_sigmoid(torch.tensor([-20.0, 0.0, 20.0])).tolist()[1:]
        [0.5, 1.0]
    """
    clipped = x.float().clamp(-_LIMIT, _LIMIT)
    square = clipped * clipped
    numerator = _polynomial(square, _NUMERATOR) * clipped
    return (numerator / _polynomial(square, _DENOMINATOR) + 0.5).clamp(0, 1)


def runtime_silu(x: Tensor) -> Tensor:
    """``x`` times that sigmoid of ``x``."""
    return x * runtime_sigmoid(x)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Horner's rule with fused multiplications and additions, which float64 stands in for."""
    in_float32 = torch.tensor(coefficients).double()
    wide, total = x.double(), torch.full_like(x, float(in_float32[0]))
    for _, coefficient in pairwise(in_float32):
        total = (total.double() * wide + coefficient).float()
    return total
